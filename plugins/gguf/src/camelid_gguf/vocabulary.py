"""A tokenizer as llama.cpp keeps it: tokens, their types, merges or scores, special tokens, and how text is cut first.

Two kinds are known. Byte-level BPE (GPT-2's) has merges, and the name of a pre-tokenizer. BPE over characters with
bytes as fallback (LLaMA's, Gemma's) has scores: llama.cpp merges the pair whose result has the highest, so a token's
score says when its first merge comes. Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
Knows tokenizers of the library `tokenizers`. Knows nothing of llama.cpp's library.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from camelid_core.errors import ModelError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of tokens, by llama.cpp's numbers."""
BYTES_IN_TOKENS, WORDS_WITH_SPACES = "gpt2", "llama"
_SPACE = "▁"
_NO_MERGE = -1e6
"""Score of tokens that no merge makes, and of added ones."""


@dataclass(frozen=True)
class Vocabulary:
    """`kind` is llama.cpp's name of the model; `pre` of the pre-tokenizer, empty until it is known. `special` maps
    `bos`, `eos`, `eot` and the like to ids; `adds` says what is put around each text. `notes` are sentences for people
    on what llama.cpp cannot be told; `strips` says that control tokens take the white space behind them.
    """

    kind: str
    tokens: Sequence[str]
    types: Sequence[int]
    special: Mapping[str, int]
    adds: Mapping[str, bool]
    merges: Sequence[str] = ()
    scores: Sequence[float] = ()
    space_first: bool = False
    ignores_merges: bool = False
    strips: bool = False
    notes: Sequence[str] = ()

    def metadata(self, pre: str) -> dict[str, Any]:
        """Key → value; `pre` is the name of the pre-tokenizer."""
        found: dict[str, Any] = {
            "model": self.kind, "pre": pre, "tokens": list(self.tokens), "token_type": list(self.types)
        }  # fmt: skip
        if self.kind == BYTES_IN_TOKENS:
            found["merges"] = list(self.merges)
        else:
            found |= {"scores": list(self.scores), "add_space_prefix": self.space_first}
        found |= {f"{_SPECIAL_KEYS[name]}_token_id": number for name, number in self.special.items()}
        found |= {f"add_{name}_token": added for name, added in self.adds.items()}
        return {f"tokenizer.ggml.{key}": value for key, value in found.items()}


_SPECIAL_KEYS = {
    "bos": "bos", "eos": "eos", "eot": "eot", "eom": "eom", "unk": "unknown", "sep": "seperator", "pad": "padding",
    "mask": "mask",
}  # fmt: skip
"""As the format spells them."""


def vocabulary_of(tokenizer: Any, rows: int, stops: Sequence[int]) -> Vocabulary:
    """The vocabulary of a Transformers tokenizer. `rows` are those of the embedding table; `stops` the ids that end an
    answer.

    Raises:
        ModelError: a kind of tokenizer that llama.cpp does not have, or more tokens than rows.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError("its tokenizer has no tokenizer.json, which is what can be written.")
    whole = json.loads(backend.to_str())
    kind = _kind(whole)
    texts = _texts(tokenizer, rows)
    types = list(_types(tokenizer, texts, kind))
    added = {number: text for number, text in enumerate(texts) if types[number] == USER_DEFINED}
    if kind == WORDS_WITH_SPACES:  # llama.cpp looks for these before it writes spaces so
        texts = [text.replace(_SPACE, " ") if number in added else text for number, text in enumerate(texts)]
    model = whole["model"]
    merges = [each if isinstance(each, str) else " ".join(each) for each in model.get("merges", ())]
    return Vocabulary(
        kind, texts, types, _special(tokenizer, stops), dict(_adds(tokenizer)),
        merges=merges if kind == BYTES_IN_TOKENS else (),
        scores=_scores(texts, types, merges) if kind == WORDS_WITH_SPACES else (),
        space_first=_puts_space_first(whole),
        ignores_merges=bool(model.get("ignore_merges")),
        strips=any(token.rstrip for token in tokenizer.added_tokens_decoder.values() if token.special),
        notes=list(_notes(tokenizer, whole)),
    )  # fmt: skip


def _kind(whole: Mapping[str, Any]) -> str:
    model = whole["model"]
    if model.get("type") == "BPE":
        if "ByteLevel" in json.dumps([whole.get("pre_tokenizer"), whole.get("decoder")]):
            return BYTES_IN_TOKENS
        if model.get("byte_fallback"):
            return WORDS_WITH_SPACES
    raise ModelError(
        f"its tokenizer ({model.get('type')}) is none that can be written: those are byte-level BPE, and BPE with "
        "bytes as fallback."
    )


def _texts(tokenizer: Any, rows: int) -> list[str]:
    """Texts by id, up to the last row of the embedding table; ids without a token get a text that nobody writes."""
    texts = {number: text for text, number in tokenizer.get_vocab().items()}
    highest = max(texts, default=-1)
    if highest >= rows:
        raise ModelError(f"its tokenizer has ids up to {highest:,}, and its embedding table {rows:,} rows.")
    return [texts.get(number, f"[PAD{number}]") for number in range(rows)]


def _types(tokenizer: Any, texts: Sequence[str], kind: str) -> Iterator[int]:
    known = tokenizer.get_vocab()
    added = tokenizer.added_tokens_decoder
    for number, text in enumerate(texts):
        if text not in known:
            yield UNUSED
        elif kind == WORDS_WITH_SPACES and text == tokenizer.unk_token:
            yield UNKNOWN
        elif number in added:
            yield CONTROL if added[number].special else USER_DEFINED
        elif kind == WORDS_WITH_SPACES and _is_byte(text):
            yield BYTE
        else:
            yield NORMAL


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _scores(texts: Sequence[str], types: Sequence[int], merges: Sequence[str]) -> list[float]:
    first: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        first.setdefault(merge.replace(" ", ""), rank)
    return [
        -float(first[text]) if kind == NORMAL and text in first else _NO_MERGE
        for text, kind in zip(texts, types, strict=True)
    ]


def _special(tokenizer: Any, stops: Sequence[int]) -> dict[str, int]:
    """The ids of special tokens. What ends an answer beside the end of a sequence ends a turn, then a message."""
    ids = {name: getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "unk", "sep", "pad", "mask")}
    others = [stop for stop in stops if stop != ids["eos"]]
    if ids["eos"] is None and others:
        ids["eos"] = others.pop(0)
    ids |= dict(zip(("eot", "eom"), others, strict=False))
    return {name: int(number) for name, number in ids.items() if isinstance(number, int)}


def _adds(tokenizer: Any) -> Iterator[tuple[str, bool]]:
    """What the tokenizer puts around every text, as it does."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a", add_special_tokens=True)["input_ids"]
    before, after = _around(whole, plain)
    yield "bos", bool(before) and before[-1] == tokenizer.bos_token_id
    yield "eos", bool(after) and after[0] == tokenizer.eos_token_id


def _around(whole: Sequence[int], plain: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    for start in range(len(whole) - len(plain) + 1):
        if list(whole[start : start + len(plain)]) == list(plain):
            return whole[:start], whole[start + len(plain) :]
    return (), ()


def _puts_space_first(whole: Mapping[str, Any]) -> bool:
    parts = list(_parts(whole.get("normalizer"))) + list(_parts(whole.get("pre_tokenizer")))
    return any(
        (part.get("type") == "Prepend" and part.get("prepend") == _SPACE)
        or (part.get("type") == "Metaspace" and part.get("prepend_scheme", "always") != "never")
        for part in parts
    )


def _parts(part: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(part, Mapping):
        yield part
        for key in ("normalizers", "pretokenizers"):
            for each in part.get(key) or ():
                yield from _parts(each)


_UNICODE_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def _notes(tokenizer: Any, whole: Mapping[str, Any]) -> Iterator[str]:
    forms = [part["type"] for part in _parts(whole.get("normalizer")) if part.get("type") in _UNICODE_FORMS]
    if forms:
        yield (
            f"Its tokenizer normalises text to {forms[0]}, and llama.cpp does not: text with accents written apart "
            "from their letters is cut otherwise there. Camelid uses the tokenizer.json beside the file."
        )
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    before, after = _around(tokenizer("a", add_special_tokens=True)["input_ids"], plain)
    unknown = [*before[:-1], *after[1:]]
    unknown += [token for token in before[-1:] if token != tokenizer.bos_token_id]
    unknown += [token for token in after[:1] if token != tokenizer.eos_token_id]
    if unknown:
        names = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(list(unknown))))
        yield f"Its tokenizer puts {names} around every text, which llama.cpp cannot be told; chat templates say it."
