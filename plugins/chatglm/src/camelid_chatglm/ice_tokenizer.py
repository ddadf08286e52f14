"""ChatGLM-6B's tokenizer as a fast one with the same ids: a SentencePiece model, and rules around it.

Knows those rules and the library `tokenizers`. Knows nothing of weights.

Source: `SPTokenizer._preprocess` and `build_inputs_with_special_tokens` in tokenization_chatglm.py of THUDM/chatglm-6b:
line breaks, tabs and runs of up to 80 spaces are written as pieces of their own before SentencePiece sees a text; ids
begin behind those of image tokens; `[gMASK]` and `<sop>` follow a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.json_files import object_in
from camelid_core.models.sentencepiece_model import Piece, PieceType, SentencePieceModel, read_sentencepiece
from camelid_core.models.sentencepiece_tokenizer import TokenizerSettings, fast_tokenizer
from camelid_core.templates.prompt_end import PROMPT_END

FILE = "ice_text.model"
GMASK, MASK, SOP = "[gMASK]", "[MASK]", "<sop>"
_IMAGE_TOKENS = 20_000
_LONGEST_RUN = 80
_CONTROL = (MASK, GMASK, "[sMASK]", "<unused_0>", SOP, "<eop>", "<ENC>", "<dBLOCK>")
_UNLIKELY = -1e9
"""Score of a piece that no text is divided into."""


def ice_model(source: Path) -> SentencePieceModel:
    """The model's pieces by their ids in the vocabulary: image tokens first, as many as `tokenizer_config.json` says.

    Raises:
        ModelError: no SentencePiece model.
    """
    images = object_in(source / "tokenizer_config.json").get("num_image_tokens", _IMAGE_TOKENS)
    if not isinstance(images, int) or images < 0:
        raise ModelError(f"num_image_tokens={images!r} in tokenizer_config.json is no number of tokens.")
    model = read_sentencepiece(source / FILE)
    pieces = [Piece(f"<image_{number}>", _UNLIKELY, PieceType.CONTROL) for number in range(images)]
    return replace(model, pieces=(*pieces, *model.pieces), unk_id=model.unk_id + images)


def token_id(model: SentencePieceModel, text: str) -> int:
    """Raises ModelError: no such piece."""
    found = next((number for number, piece in enumerate(model.pieces) if piece.text == text), None)
    if found is None:
        raise ModelError(f"{FILE} has no piece {text!r}, without which it is no tokenizer of ChatGLM-6B.")
    return found


def save_ice_tokenizer(model: SentencePieceModel, output: Path, tokens: Mapping[str, int], longest: int) -> None:
    """Write the tokenizer's files into `output`. `tokens` are the ids of `eos_token` and `pad_token`; `longest` is the
    context length."""
    from transformers import PreTrainedTokenizerFast

    named = {name: model.pieces[number].text for name, number in tokens.items()}
    backend = ice_tokenizer(model, named.values())
    _check_symbols(backend, model)
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=model.pieces[model.unk_id].text,
        model_max_length=longest,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        **named,
        **{PROMPT_END: GMASK + SOP},
    ).save_pretrained(output)


def ice_tokenizer(model: SentencePieceModel, special: Any) -> Any:
    """The `tokenizers.Tokenizer`; `special` are control tokens beside those that the model marks as such."""
    from tokenizers import processors

    control = {piece.text for piece in model.pieces if piece.type in (PieceType.CONTROL, PieceType.UNKNOWN)}
    control = {text for text in control if not text.startswith("<image_")} | {*_CONTROL, *special}
    present = [piece.text for piece in model.pieces if piece.text in control]
    symbols = [
        piece.text for piece in model.pieces if piece.type == PieceType.USER_DEFINED and piece.text not in control
    ]
    backend = fast_tokenizer(_without_symbols(model, symbols), TokenizerSettings(), present)
    if model.bpe:
        backend.model.ignore_merges = True  # what stands alone and is a piece, is that piece
    _set_texts(backend, model, symbols)
    gmask, sop = ((text, backend.token_to_id(text)) for text in (GMASK, SOP))
    end = ("<eop>", backend.token_to_id("<eop>"))
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {GMASK} {SOP}", pair=f"$A {GMASK} {SOP} $B <eop>", special_tokens=[gmask, sop, end]
    )
    return backend


def _without_symbols(model: SentencePieceModel, symbols: list[str]) -> SentencePieceModel:
    """The model with its user-defined symbols as ordinary pieces: they are kept whole by the pre-tokenizer, behind the
    space that SentencePiece puts before a text."""
    names = set(symbols)
    pieces = (replace(piece, type=PieceType.UNUSED) if piece.text in names else piece for piece in model.pieces)
    return replace(model, pieces=tuple(pieces))


def _set_texts(backend: Any, model: SentencePieceModel, symbols: list[str]) -> None:
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    written = {"\n": "<n>", "\t": "<|tab|>"}
    written |= {" " * length: f"<|blank_{length}|>" for length in range(_LONGEST_RUN, 1, -1)}
    steps: list[Any] = [normalizers.Replace(text, symbol) for text, symbol in written.items()]
    backend.normalizer = normalizers.Sequence([*steps, *([backend.normalizer] if backend.normalizer else [])])
    kept = "|".join(re.escape(symbol) for symbol in sorted(symbols, key=len, reverse=True))
    if kept:
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(kept), "isolated")
    read = [decoders.Replace(symbol, text) for text, symbol in written.items()]
    backend.decoder = decoders.Sequence([*read, backend.decoder])


def _check_symbols(backend: Any, model: SentencePieceModel) -> None:
    """Raise ModelError where a symbol that the rules write is not one piece."""
    for symbol in ("<n>", "<|tab|>", *(f"<|blank_{length}|>" for length in range(2, _LONGEST_RUN + 1))):
        number = backend.token_to_id(symbol)
        if number is not None and number not in backend.encode(symbol, add_special_tokens=False).ids:
            raise ModelError(f"{FILE}: {symbol!r} is a piece, but is not read as one. Copy the file again.")
