"""The whole card of a repository: its fields, its sections in order, and an existing card regenerated in place.

The order of fields and sections is that of TheBloke's cards. Knows which kind of artefact has which sections.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from camelid_train.saving.model_card import hub_id_of, licence_fields

from . import gguf_sections, gptq_sections, plain_sections, shared_sections
from .card_data import CardData
from .front_matter import with_fields
from .marked_text import Part, marked, regenerated

_TEMPLATE_VERSION = "<!-- 200823 -->"
"""Of the card's layout, as TheBloke's cards carry it."""
_HEADINGS = {"gptq": "- GPTQ", "gguf": "- GGUF", "adapter": "(peft)", "diff": "(diff)"}


def card_text(data: CardData, existing: str = "") -> tuple[str, list[str]]:
    """The card, and the sections that `existing` has no markers for, which stay away.

    Raises:
        UsageError: the markers of `existing` cannot be told apart.
    """
    parts = list(_parts(data))
    text, missing = regenerated(existing, parts) if existing else (marked(parts), [])
    return with_fields(text, fields(data)), missing


def fields(data: CardData) -> dict[str, Any]:
    """The fields at the card's head."""
    manifest = data.manifest
    values: dict[str, Any] = {
        "base_model": data.original or hub_id_of(manifest),
        "datasets": shared_sections.dataset_ids(data),
        "language": shared_sections.languages(data),
        **_licence(data),
        "model_creator": data.creator,
        "model_name": data.title,
        "model_type": manifest.base.model_type if manifest.base else "",
        "prompt_template": data.prompt,
    }
    if manifest.kind in ("gptq", "gguf"):
        values |= {"inference": False, "quantized_by": data.quantized_by}
    elif manifest.kind != "diff":
        relation = "adapter" if manifest.kind == "adapter" else "finetune"
        values |= {
            "library_name": "peft" if manifest.kind == "adapter" else "transformers",
            "pipeline_tag": "text-generation",
            "base_model": hub_id_of(manifest),
            "base_model_relation": relation if hub_id_of(manifest) else "",
            "tags": ["camelid"],
        }
    return dict(sorted((name, value) for name, value in values.items() if value not in ("", [])))


def _licence(data: CardData) -> dict[str, str]:
    pairs = (line.split(": ", 1) for line in licence_fields(data.manifest.licences))
    return {name: value.strip('"') for name, value in pairs}


def _parts(data: CardData) -> Iterator[Part]:
    kind = data.manifest.kind
    yield "header", "\n".join(filter(None, (_TEMPLATE_VERSION, data.header.strip())))
    yield "", "\n" + shared_sections.title(data, _heading(data))
    yield "description", plain_sections.description(data)
    yield "repositories-available", shared_sections.repositories(data)
    yield "variants", shared_sections.variants(data)
    if data.prompt:
        yield "prompt-template", shared_sections.prompt_template(data)
    yield "licensing", shared_sections.licensing(data)
    yield from {"gptq": _gptq, "gguf": _gguf}.get(kind, _plain)(data)
    yield "test-status", shared_sections.test_status(data)
    yield "citations", shared_sections.citations(data)
    yield "footer", data.footer.strip()
    if original := shared_sections.original_card(data):
        yield "", "\n" + original


def _heading(data: CardData) -> str:
    manifest = data.manifest
    stored = (manifest.parameters.get("export") or {}).get("quantization")
    return _HEADINGS.get(manifest.kind) or f"({stored or data.precision})"


def _gptq(data: CardData) -> Iterator[Part]:
    name = "README_GPTQ.md"
    yield f"{name}-provided-files", gptq_sections.provided_files(data)
    yield f"{name}-download-from-branches", gptq_sections.download(data)
    yield f"{name}-text-generation-webui", gptq_sections.text_generation_webui(data)
    yield f"{name}-use-from-python", gptq_sections.python_code(data)
    yield f"{name}-compatibility", gptq_sections.compatibility(data)


def _gguf(data: CardData) -> Iterator[Part]:
    name = "README_GGUF.md"
    yield f"{name}-provided-files", gguf_sections.provided_files(data)
    yield f"{name}-how-to-download", gguf_sections.download(data)
    yield f"{name}-how-to-run", gguf_sections.run(data)


def _plain(data: CardData) -> Iterator[Part]:
    yield "training", plain_sections.training(data)
    yield "how-to-load", plain_sections.loading(data)
