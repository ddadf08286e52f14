"""What this plugin gives to Camelid: InternLM's models, and converters for their original checkpoints.

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
    from .family import ADAPTERS

    return list(ADAPTERS)


@hookimpl
def camelid_checkpoint_converters() -> list[CheckpointConverter]:
    from .family import CONVERTERS

    return list(CONVERTERS)
