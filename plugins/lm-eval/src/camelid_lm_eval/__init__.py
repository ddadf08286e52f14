"""Tasks of lm-evaluation-harness as evaluations. Imports the harness only when one of them is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core.hooks import hookimpl

if TYPE_CHECKING:
    from camelid_serve.evaluations.evaluation_source import EvaluationSource


@hookimpl
def camelid_evaluation_sources() -> list[EvaluationSource]:
    from camelid_serve.evaluations.evaluation_source import EvaluationSource

    return [
        EvaluationSource(
            "lm-eval",
            "A task of lm-evaluation-harness, by name or as a YAML file; NAME@5 asks with five examples.",
            "camelid_lm_eval.harness_evaluation:as_text",
        ),
        EvaluationSource(
            "lm-eval-chat",
            "The same as a conversation in the model's prompt template, examples as earlier turns.",
            "camelid_lm_eval.harness_evaluation:as_conversation",
        ),
    ]
