"""A SentencePiece model as a fast tokenizer with the same ids, for checkpoints whose own tokenizer is Python code.

Knows how the library `tokenizers` does what SentencePiece does: normalisation, the space before a text, bytes for
unknown characters, merges in the order of their scores. Knows nothing of model families.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.json_files import object_in

from .sentencepiece_model import Piece, PieceType, SentencePieceModel

_SPACE = "▁"
_UNREACHABLE = (PieceType.CONTROL, PieceType.UNKNOWN, PieceType.BYTE, PieceType.USER_DEFINED)
_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """What an original tokenizer's own code had as defaults; its files take precedence.

    `control` is a pattern for pieces that a prompt format uses as control tokens. `dummy_prefix_once` says that the
    space before a text is put at its beginning alone, and not after every control token: so it is where SentencePiece
    itself sees them as user-defined symbols. A text that itself begins with a space then gets no further one.
    """

    bos_token: str = "<s>"  # noqa: S105 – tokens of text, here and below
    eos_token: str = "</s>"  # noqa: S105
    unk_token: str = "<unk>"  # noqa: S105
    pad_token: str = ""
    add_bos_token: bool = True
    add_eos_token: bool = False
    control: str = r"(?!)"
    dummy_prefix_once: bool = False


@dataclass(frozen=True, slots=True)
class AddedText:
    """A token that the original's files add to the model's pieces, or put in the place of one."""

    text: str
    id: int
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False


def save_fast_tokenizer(
    model: SentencePieceModel, source: Path, output: Path, settings: TokenizerSettings, longest: int
) -> None:
    """Write the tokenizer's files into `output`. `source` has `tokenizer_config.json`, `special_tokens_map.json` and
    `added_tokens.json`, each if the original has it; `longest` is the context length.

    Raises:
        ModelError: an added token's id is taken.
    """
    from transformers import PreTrainedTokenizerFast

    configured = object_in(source / "tokenizer_config.json")
    tokens = special_token_names(source, configured, settings)
    tokenizer = fast_tokenizer(model, settings, tokens.values(), added_texts(source, configured))
    begin = tokens["bos_token"] if configured.get("add_bos_token", settings.add_bos_token) else ""
    end = tokens["eos_token"] if configured.get("add_eos_token", settings.add_eos_token) else ""
    tokenizer.post_processor = _around(tokenizer, begin, end)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        model_max_length=longest,
        **{name: text for name, text in tokens.items() if text},
    )
    fast.save_pretrained(output)


def special_token_names(source: Path, configured: Mapping[str, Any], settings: TokenizerSettings) -> dict[str, str]:
    """The texts of BOS, EOS, unknown and padding token: as the original's files have them, else by default."""
    mapped = object_in(source / "special_tokens_map.json")
    found = {}
    for name in _NAMES:
        value = configured.get(name) or mapped.get(name) or getattr(settings, name)
        found[name] = str(value.get("content", "")) if isinstance(value, Mapping) else str(value)
    return found


def added_texts(source: Path, configured: Mapping[str, Any]) -> list[AddedText]:
    """The tokens that the original's files add, by id. Raises ModelError: an entry that is none."""
    plain = [AddedText(str(text), _id(number)) for text, number in object_in(source / "added_tokens.json").items()]
    decoder = configured.get("added_tokens_decoder")
    described = [_described(number, value) for number, value in decoder.items()] if isinstance(decoder, dict) else []
    found = {each.id: each for each in (*plain, *described)}
    return [found[number] for number in sorted(found)]


def _described(number: str, value: Any) -> AddedText:
    if not isinstance(value, dict) or not isinstance(value.get("content"), str):
        raise ModelError(f"tokenizer_config.json adds {value!r} as a token, which is none. Copy the file again.")
    flags = (bool(value.get(name, False)) for name in ("special", "lstrip", "rstrip"))
    return AddedText(value["content"], _id(number), *flags)


def _id(value: Any) -> int:
    text = str(value)
    if not text.isdecimal():
        raise ModelError(f"the tokenizer's files give an added token the id {value!r}, which is none. Copy them again.")
    return int(text)


def fast_tokenizer(
    model: SentencePieceModel, settings: TokenizerSettings, special: Iterable[str], added: Sequence[AddedText] = ()
) -> Any:
    """The `tokenizers.Tokenizer`. `special` are control tokens by name.

    Raises:
        ModelError: an added token's id is taken.
    """
    from tokenizers import AddedToken, Tokenizer

    model = _with_added(model, added)
    tokenizer = Tokenizer(_bpe(model) if model.bpe else _unigram(model))
    _set_spaces(tokenizer, model, settings)
    by_text = {each.text: each for each in added}
    control = {*filter(None, special), *(each.text for each in added if each.special)}
    control |= {piece.text for piece in model.pieces if re.fullmatch(settings.control, piece.text)}
    symbols = [piece.text for piece in model.pieces if piece.type == PieceType.USER_DEFINED or piece.text in control]
    for text in dict.fromkeys([*symbols, *by_text]):
        known = by_text.get(text) or AddedText(text, -1, text in control)
        token = AddedToken(
            text, normalized=False, special=known.special or text in control, lstrip=known.lstrip, rstrip=known.rstrip
        )
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
        if known.id not in (-1, tokenizer.token_to_id(text)):
            raise ModelError(
                f"the tokenizer's added token {text!r} has id {known.id} in its files, where the next free one is "
                f"{tokenizer.token_to_id(text)}. Copy the tokenizer's files again, all of them."
            )
    return tokenizer


def _with_added(model: SentencePieceModel, added: Iterable[AddedText]) -> SentencePieceModel:
    """The model with the added tokens that stand in a piece's place."""
    pieces = list(model.pieces)
    for each in added:
        if each.id < len(pieces) and pieces[each.id].text != each.text:
            pieces[each.id] = Piece(each.text, 0.0, PieceType.USER_DEFINED)
    return replace(model, pieces=tuple(pieces))


def _bpe(model: SentencePieceModel) -> Any:
    from tokenizers.models import BPE

    vocabulary = {piece.text: number for number, piece in enumerate(model.pieces)}
    unknown = model.pieces[model.unk_id].text
    merges = _merges(model.pieces)
    return BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=model.byte_fallback)


def _unigram(model: SentencePieceModel) -> Any:
    from tokenizers.models import Unigram

    scores = [(piece.text, piece.score) for piece in model.pieces]
    return Unigram(scores, unk_id=model.unk_id, byte_fallback=model.byte_fallback)


def _merges(pieces: Iterable[Piece]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, best score first: SentencePiece merges the pair of the best piece."""
    scores = {piece.text: piece.score for piece in pieces if piece.type not in _UNREACHABLE}
    found = [
        (-score, text[:at], text[at:])
        for text, score in scores.items()
        for at in range(1, len(text))
        if text[:at] in scores and text[at:] in scores
    ]
    found.sort(key=lambda each: each[0])
    return [(left, right) for _, left, right in found]


def _set_spaces(tokenizer: Any, model: SentencePieceModel, settings: TokenizerSettings) -> None:
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if model.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    once = model.add_dummy_prefix and settings.dummy_prefix_once
    if model.add_dummy_prefix and not once:
        steps.append(normalizers.Prepend(_SPACE))
    if once:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme="first", split=False)
    else:
        steps.append(normalizers.Replace(" ", _SPACE))
    if steps:
        tokenizer.normalizer = normalizers.Sequence(steps)
    undo = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*undo, decoders.Strip(" ", 1, 0)] if model.add_dummy_prefix else undo)


def _around(tokenizer: Any, begin: str, end: str) -> Any:
    """What puts BOS and EOS around a text. Raises ModelError: the vocabulary lacks one."""
    from tokenizers import processors

    if lacking := [text for text in (begin, end) if text and tokenizer.token_to_id(text) is None]:
        raise ModelError(f"the tokenizer's files name {lacking[0]!r}, which its vocabulary lacks. Copy them again.")
    single = [*([begin] if begin else []), "$A", *([end] if end else [])]
    pair = [*single, *(part.replace("$A", "$B") for part in single)]
    known = [(text, tokenizer.token_to_id(text)) for text in dict.fromkeys((begin, end)) if text]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=known)
