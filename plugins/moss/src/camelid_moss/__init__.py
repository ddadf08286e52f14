"""What this plugin gives to Camelid: MOSS, and a converter for its original checkpoints.

Torch and Transformers are loaded when a checkpoint is converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core import hookimpl

if TYPE_CHECKING:
    from camelid_core.models.adapters import ModelAdapter
    from camelid_core.models.checkpoint_converters import CheckpointConverter

CAMELID_API = 1


@hookimpl
def camelid_model_adapters() -> list[ModelAdapter]:
    from .family import MOSS

    return [MOSS]


@hookimpl
def camelid_checkpoint_converters() -> list[CheckpointConverter]:
    from .family import CONVERTER

    return [CONVERTER]
