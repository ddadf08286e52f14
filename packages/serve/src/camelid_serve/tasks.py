"""Serve's kinds of long work, described by import paths."""

from __future__ import annotations

from camelid_core.tasks import Task

TASKS = (
    Task("predict", "Answer every row of a file.", "camelid_serve.config:PredictConfig", "camelid_serve.predict:run"),
    Task(
        "evaluate",
        "Score a model's answers on held-out rows.",
        "camelid_serve.config:EvaluateConfig",
        "camelid_serve.evaluate:run",
    ),
)
