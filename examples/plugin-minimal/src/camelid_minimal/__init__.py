"""What this plugin gives to Camelid. Each hook returns a list; nothing heavy is imported here."""

from __future__ import annotations

from camelid_core import hookimpl
from camelid_core.datasets.dataset import Dataset
from camelid_core.models.adapters import ModelAdapter
from camelid_core.templates.template import PromptTemplate
from camelid_train.monitoring.callbacks import LoopCallback

from .adapter import PERSIMMON
from .callback import HALFWAY
from .dataset import GREETINGS
from .template import QUESTION_ANSWER

CAMELID_API = 1


@hookimpl
def camelid_model_adapters() -> list[ModelAdapter]:
    return [PERSIMMON]


@hookimpl
def camelid_prompt_templates() -> list[PromptTemplate]:
    return [QUESTION_ANSWER]


@hookimpl
def camelid_datasets() -> list[Dataset]:
    return [GREETINGS]


@hookimpl
def camelid_trainer_callbacks() -> list[LoopCallback]:
    return [HALFWAY]
