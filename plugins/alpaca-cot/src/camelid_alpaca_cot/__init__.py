"""What this plugin gives to Camelid: the Alpaca-CoT collection by name. The table is read when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core import hookimpl

if TYPE_CHECKING:
    from camelid_core.datasets.dataset import Dataset
    from camelid_core.readers import Reader

CAMELID_API = 1


@hookimpl
def camelid_datasets() -> list[Dataset]:
    from .catalogue import datasets

    return datasets()


@hookimpl
def camelid_readers() -> list[Reader]:
    from .phrasings import READER

    return [READER]
