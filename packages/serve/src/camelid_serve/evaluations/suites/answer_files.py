"""Answers as Alpaca-CoT's eval scripts write them: `{model}_{lora}_{input}_p.json`, an array of C, Q, O (MMCU's
options), A and, in P, what the model wrote. Its score.py and Camelid's verdicts read that form. Knows form and name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from camelid_core.models.resolved_model import ResolvedModel

from camelid_serve.evaluations.evaluation import Item

FOLDER = "answers"
ROW = "row"
"""Key of `Item.about` with the columns of such a row; items without it are in no such file."""


def write_answer_files(
    directory: Path,
    evaluation: str,
    items: Sequence[Item],
    models: Mapping[str, ResolvedModel],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """A file for each model; questions that it did not answer are left out."""
    if not items or not all(ROW in item.about for item in items):
        return
    (directory / FOLDER).mkdir(parents=True, exist_ok=True)
    for label, model in models.items():
        answers = {row["id"]: row["answers"][0] for row in rows[label] if "answers" in row}
        found = [{**item.about[ROW], "P": answers[item.id]} for item in items if item.id in answers]
        text = json.dumps(found, indent=4, ensure_ascii=False)
        (directory / FOLDER / file_name(label, model, evaluation)).write_text(text, encoding="utf-8")


def file_name(label: str, model: ResolvedModel, evaluation: str) -> str:
    """The base and the adapter where there is one, else the model's label and `none`."""
    base = Path(model.base_id).name if model.adapter_dir else label
    names = (base, label if model.adapter_dir else "none", evaluation)
    return "_".join(name.replace("/", "-") for name in names) + "_p.json"
