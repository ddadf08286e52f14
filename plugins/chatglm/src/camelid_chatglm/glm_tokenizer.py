"""The tokenizer of ChatGLM2 and ChatGLM3 as a fast one with the same ids: a SentencePiece model, and control tokens
behind its pieces.

Knows which control tokens those are. Source: tokenization_chatglm.py of both (`SPTokenizer`, `get_prefix_tokens`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.json_files import object_in
from camelid_core.models.sentencepiece_model import read_sentencepiece
from camelid_core.models.sentencepiece_tokenizer import TokenizerSettings, fast_tokenizer

FILE = "tokenizer.model"
GMASK, SOP = "[gMASK]", "sop"
_CONTROL = ("[MASK]", GMASK, "[sMASK]", SOP, "eop")
_ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
_ENDS = ("<|user|>", "<|observation|>")
"""Roles with which a turn of ChatGLM3's ends."""
_ASKED = ("tokenization_chatglm.py", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def has_roles(source: Path) -> bool:
    """Whether the tokenizer has tokens for roles, as ChatGLM3's: by the text of its files, none of which is run, or
    else by what `config.json` calls the model."""
    files = (source / name for name in _ASKED)
    if any("<|user|>" in path.read_text("utf-8", "replace") for path in files if path.is_file()):
        return True
    return "chatglm3" in str(object_in(source / "config.json").get("_name_or_path", "")).lower()


def save_glm_tokenizer(source: Path, output: Path, roles: bool, size: int, longest: int) -> list[int]:
    """Write the tokenizer's files into `output`; returns the ids that end an answer. `size` is the model's vocabulary,
    `longest` the context length.

    Raises:
        ModelError: no SentencePiece model, or one with more tokens than the model.
    """
    from transformers import PreTrainedTokenizerFast

    backend = glm_tokenizer(source, roles)
    if backend.get_vocab_size() > size:
        raise ModelError(
            f"{FILE} has {backend.get_vocab_size():,} tokens with its control tokens, where config.json has "
            f"padded_vocab_size {size:,}. They are of different models; copy both again."
        )
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",  # noqa: S106 – tokens of text
        pad_token="<unk>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        model_max_length=longest,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    ).save_pretrained(output)
    return [backend.token_to_id(text) for text in ("</s>", *(_ENDS if roles else ()))]


def glm_tokenizer(source: Path, roles: bool) -> Any:
    """The `tokenizers.Tokenizer`. `sop` and `eop` are letters that words may have too, so in a text they are control
    tokens only where they stand alone."""
    from tokenizers import AddedToken, processors

    model = read_sentencepiece(source / FILE)
    backend = fast_tokenizer(model, TokenizerSettings(), ("<unk>", "<s>", "</s>"))
    texts = (*_CONTROL, *(_ROLES if roles else ()))
    backend.add_special_tokens(
        [AddedToken(text, special=True, normalized=False, single_word=text.isalpha()) for text in texts]
    )
    for number, text in enumerate(texts, len(model.pieces)):
        if backend.token_to_id(text) != number:
            raise ModelError(f"{FILE} has a piece {text!r}, where ChatGLM's tokenizer adds it as token {number:,}.")
    known = [(text, backend.token_to_id(text)) for text in (GMASK, SOP, "</s>")]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{GMASK} {SOP} $A", pair=f"{GMASK} {SOP} $A $B </s>", special_tokens=known
    )
    return backend
