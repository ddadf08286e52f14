"""Serve's kinds of long work, described by import paths."""

from __future__ import annotations

from camelid_core.tasks import Task

TASKS = (
    Task(
        "predict", "Answer every row of a file.", "camelid_serve.config:PredictConfig", "camelid_serve.predict.task:run"
    ),
    Task(
        "evaluate",
        "Score a model's answers on held-out rows.",
        "camelid_serve.config:EvaluateConfig",
        "camelid_serve.evaluations.answer_accuracy:run",
    ),
    Task(
        "context",
        "Measure perplexity against the length of the context.",
        "camelid_serve.evaluations.long_context_config:ContextConfig",
        "camelid_serve.evaluations.perplexity:run",
    ),
    Task(
        "passkey",
        "Have models find a key that is hidden in long texts.",
        "camelid_serve.evaluations.long_context_config:PasskeyConfig",
        "camelid_serve.evaluations.passkey:run",
    ),
)
