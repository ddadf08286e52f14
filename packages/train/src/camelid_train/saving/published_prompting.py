"""What a published model or adapter brings so that plain transformers prompts it as it was trained, and stops it.

Tokenizer, chat template, and a `generation_config.json` with every token that ends an answer. Knows files; the tokens
come from the encoder. Knows no weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camelid_core.json_files import object_in
from camelid_core.models.rope import with_older_keys
from camelid_core.tokenization.encoder import Encoder

_GENERATION = "generation_config.json"


def write_prompting(directory: Path, base: Path, base_config: Mapping[str, Any], encoder: Encoder, jinja: str) -> None:
    """Write them to `directory`. `base` is the base model's directory, whose generation settings are kept."""
    encoder.tokenizer.chat_template = jinja  # the only one: a model may have brought several, by name
    encoder.tokenizer.save_pretrained(directory)
    own = object_in(directory / _GENERATION) or object_in(base / _GENERATION)
    settings = {key: value for key, value in own.items() if key != "_from_model_config"}  # transformers would redo it
    ends = _listed(settings.get("eos_token_id", base_config.get("eos_token_id")))
    ends = list(dict.fromkeys([*ends, *encoder.stop_ids]))
    if ends:
        settings["eos_token_id"] = ends[0] if len(ends) == 1 else ends
        if settings.get("pad_token_id") is None:
            pad = encoder.tokenizer.pad_token_id
            settings["pad_token_id"] = ends[0] if pad is None else pad
    (directory / _GENERATION).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def write_older_rope_keys(directory: Path) -> None:
    """Name a stretched model's scaling in its `config.json` by the older keys as well."""
    if config := object_in(directory / "config.json"):
        text = json.dumps(with_older_keys(config), indent=2, ensure_ascii=False)
        (directory / "config.json").write_text(text + "\n", encoding="utf-8")


def unstoppable_note(encoder: Encoder) -> str:
    """A sentence for people where an answer ends with plain text under this tokenizer, which only Camelid stops at."""
    if encoder.ends_with_token:
        return ""
    stops = ", ".join(map(repr, encoder.template.stops)) or "none"
    return (
        f"template {encoder.template.name!r} ends answers with text that is no token of this tokenizer: Camelid stops "
        f"there, other programs run on unless they are told these stop texts: {stops}."
    )


def _listed(value: Any) -> list[int]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int)]
