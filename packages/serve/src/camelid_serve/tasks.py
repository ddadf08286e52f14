"""Serve's tasks, described by import paths."""

from __future__ import annotations

from camelid_core.tasks import Task

TASKS = (
    Task(
        "predict",
        "Batch prediction: answer every row of a file.",
        "camelid_serve.config:PredictConfig",
        "camelid_serve.predict.task:run",
        needs="camelid_serve.needs:generation",
        portable=True,
    ),
    Task(
        "evaluate",
        "Score a model's answers on held-out rows.",
        "camelid_serve.config:EvaluateConfig",
        "camelid_serve.evaluations.answer_accuracy:run",
        needs="camelid_serve.needs:generation",
        portable=True,
    ),
    Task(
        "score",
        "Score models on evaluations, with intervals and paired differences.",
        "camelid_serve.evaluations.score_config:ScoreConfig",
        "camelid_serve.evaluations.score_task:run",
        needs="camelid_serve.needs:generation",
    ),
    Task(
        "context",
        "Measure perplexity by context length.",
        "camelid_serve.evaluations.long_context_config:ContextConfig",
        "camelid_serve.evaluations.perplexity:run",
        needs="camelid_serve.needs:generation",
        portable=True,
    ),
    Task(
        "passkey",
        "Measure passkey retrieval from long texts (needle in a haystack).",
        "camelid_serve.evaluations.long_context_config:PasskeyConfig",
        "camelid_serve.evaluations.passkey:run",
        needs="camelid_serve.needs:generation",
        portable=True,
    ),
    Task(
        "prove",
        "Compare an export with its source on held-out text.",
        "camelid_serve.evaluations.proof.proof_config:ProofConfig",
        "camelid_serve.evaluations.proof.proof_task:run",
    ),
)
