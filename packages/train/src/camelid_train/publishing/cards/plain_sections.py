"""Sections of a card for adapters, merged models and weight diffs: training, and how to load. Knows no quantisation."""

from __future__ import annotations

from camelid_core.artefacts import Manifest
from camelid_core.statistics import shown_values

from camelid_train.saving.model_card import dataset_line, loading_lines, setting_lines, value_line

from .card_data import CardData
from .shared_sections import rope_hint


def training(data: CardData) -> str:
    manifest = data.manifest
    measured = [
        value_line(name, value)
        for name, value in shown_values(manifest.metrics)
        if value not in (None, "") and not isinstance(value, dict | list)
    ]
    groups = (
        ("Training data", [dataset_line(use) for use in manifest.datasets]),
        ("Settings", [*setting_lines(manifest), *_cutoff(manifest)]),
        ("Metrics", measured),
    )
    texts = ["\n".join([f"## {name}", "", *(f"- {row}" for row in rows)]) for name, rows in groups if rows]
    return "\n\n".join(texts) or "## Training\n\nNothing about its training is recorded."


def loading(data: CardData) -> str:
    if data.manifest.kind == "diff":
        base = data.base
        lines = ["```sh", f"git clone {data.clone_url} diff",
                 f"camelid diff recover diff {base} --out recovered", "```"]  # fmt: skip
        return "\n".join(["## How to recover the model", "", *lines])
    code = "\n".join(["## How to load", "", "```python", *loading_lines(data.manifest, data.repository), "```"])
    return "\n".join([code, *(f"\n{hint}" for hint in rope_hint(data))])


def description(data: CardData) -> str:
    kind = data.manifest.kind
    what = {
        "adapter": f"This repository holds an adapter (PEFT) for {data.base}.",
        "diff": f"This model is a model diff: it holds what was added to the weights of {data.base}, and answers "
        "nothing by itself.",
        "gptq": f"This repo contains GPTQ model files for {data.title}.",
        "gguf": f"This repo contains GGUF format model files for {data.title}.",
    }.get(kind, f"This repository holds {data.title}, fine-tuned from {data.base}.")
    return f"## Description\n\n{what}\n\nMade by Camelid; `camelid.json` holds every detail of how."


def _cutoff(manifest: Manifest) -> list[str]:
    """The longest row in tokens: adapters of one run are told apart by it."""
    cutoff = (manifest.parameters.get("data") or {}).get("cutoff")
    return [f"data.cutoff: {cutoff} tokens"] if cutoff else []
