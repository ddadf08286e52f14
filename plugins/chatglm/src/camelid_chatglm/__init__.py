"""What this plugin gives to Camelid: ChatGLM-6B as a model of our own, and converters for ChatGLM 1 to 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core import hookimpl

if TYPE_CHECKING:
    from camelid_core.models.adapters import ModelAdapter
    from camelid_core.models.checkpoint_converters import CheckpointConverter

CAMELID_API = 1


@hookimpl
def camelid_model_adapters() -> list[ModelAdapter]:
    from .families import CHATGLM

    return [CHATGLM]


@hookimpl
def camelid_checkpoint_converters() -> list[CheckpointConverter]:
    from .families import CHATGLM_1, CHATGLM_2_3

    return [CHATGLM_1, CHATGLM_2_3]
