"""Vocabulary against model: the ids that an encoder gives must have rows in the model's embedding table.

Knows configurations, tokenizers and shapes in an adapter's file. Loads no weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from camelid_core.errors import CamelidError, ModelError
from camelid_core.integrity import safetensors_header
from camelid_core.special_tokens import special_tokens
from camelid_core.template_contract import REFERENCE_CONVERSATION

if TYPE_CHECKING:
    from camelid_core.tokenization.encoder import Encoder

    from .resolved_model import ResolvedModel

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_TABLES = ("embed_tokens", "wte", "word_embeddings", "embed_in", "lm_head", "embed_out")


def vocabulary_size(resolved: ResolvedModel) -> int:
    """Rows of the embedding table: the base's, or those that the adapter brings with a grown vocabulary; 0 where the
    configuration does not say."""
    config = resolved.config
    size = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size") or 0
    grown = adapter_vocabulary(resolved.adapter_dir) if resolved.adapter_dir is not None else 0
    return max(int(size), grown if size else 0)


def adapter_vocabulary(directory: Path) -> int:
    """Rows of the whole embedding table or head that an adapter's file holds; 0 where it holds none."""
    path = directory / ADAPTER_WEIGHTS
    if not path.is_file():
        return 0
    tensors = {name: value for name, value in safetensors_header(path).items() if name != "__metadata__"}
    tables = (value["shape"] for name, value in tensors.items() if is_table(name))
    return max((int(shape[0]) for shape in tables if len(shape) == 2), default=0)


def is_table(name: str) -> bool:
    """Whether a tensor of an adapter's file is a whole embedding table or head."""
    parts = name.split(".")
    return parts[-1] == "weight" and any(part in _TABLES for part in parts) and "lora_" not in name


def check_vocabulary(encoder: Encoder, resolved: ResolvedModel) -> None:
    """Raise ModelError if the tokenizer or the template gives ids beyond the model's vocabulary, before its weights
    are loaded."""
    size = vocabulary_size(resolved)
    if not size:
        return
    tokenizer = encoder.tokenizer
    special = set(special_tokens(tokenizer))  # no text becomes one of these, so some models have no embedding for them
    known = [number for token, number in tokenizer.get_vocab().items() if token not in special]
    highest = max([*known, tokenizer.eos_token_id or 0, tokenizer.pad_token_id or 0])
    if highest >= size:
        raise ModelError(
            f"{resolved.name!r}: its tokenizer has ids up to {highest:,} and the model a vocabulary of {size:,}, so "
            "some of its tokens have no place in the model. The two do not belong together; load them as published."
        )
    beyond = sorted({token for token in _template_ids(encoder) if token >= size})
    if beyond:
        names = ", ".join(repr(tokenizer.convert_ids_to_tokens(token)) for token in beyond[:5])
        raise ModelError(
            f"{resolved.name!r}: template {encoder.template.name!r} writes {names}, which the model's vocabulary of "
            f"{size:,} has no place for. Choose another template, or load model and tokenizer as published."
        )


def _template_ids(encoder: Encoder) -> list[int]:
    """The ids of a short conversation; none where the template has no form for it."""
    try:
        return encoder.prompt_ids(REFERENCE_CONVERSATION)
    except CamelidError:
        return []
