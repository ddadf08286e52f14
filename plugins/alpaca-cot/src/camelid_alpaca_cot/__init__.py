"""The hooks of this plugin: the datasets of the Alpaca-CoT collection, and a reader. The table is read when needed."""

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
