"""Serve's extension points. Each returns a list of objects with a `name`; calls are pure and cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core.hooks import hookspec

if TYPE_CHECKING:
    from .engine import EngineKind
    from .evaluations.evaluation import Evaluation
    from .evaluations.evaluation_source import EvaluationSource


@hookspec
def camelid_engines() -> list[EngineKind]:
    """Engines that can answer for a model: name, one line of help, where the code lives, and where an engine has
    settings of its own, their class."""


@hookspec
def camelid_evaluations() -> list[Evaluation]:
    """Evaluations that `camelid eval … --task NAME` can score: which items a model is asked, and how its answers are
    scored."""


@hookspec
def camelid_evaluation_sources() -> list[EvaluationSource]:
    """Sources of evaluations that are too many to list: a name, which people type before a colon, and where the code
    lives that finds one by what comes after it."""
