"""Segments + tokenizer → token ids and labels.

Knows how text becomes ids and keeps two promises: the ids of a prompt are a prefix of the ids of
the whole conversation, and nothing a person wrote becomes a control token. Knows no template and
no model. `tokenizer` is always a transformers tokenizer with a `tokenizers` backend.

Text between two control tokens, or between a prompt and its answer, is encoded as one run, so the
ids equal those of the whole text encoded at once; the one forced cut is where an answer starts,
which is where generation starts too.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ModelError
from .records import Message
from .templates import EOS, PromptTemplate, Segment

IGNORE = -100
"""Label of a position that is not trained on (torch's convention)."""


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised conversation; `labels` has the id where it is trained on, else `IGNORE`."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class _Run:
    """A stretch of one conversation: a control token's id, or text for one of the three encoders."""

    trained: bool
    token: int = -1
    text: str = ""
    encoder: int = 0


class Encoder:
    """Encodes conversations under one template with one tokenizer.

    Raises:
        ModelError: the tokenizer has no `tokenizers` backend.
    """

    def __init__(self, tokenizer: Any, template: PromptTemplate) -> None:
        self.tokenizer = tokenizer
        self.template = template
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(
                f"tokenizer {type(tokenizer).__name__!r} has no fast backend; convert it to tokenizer.json."
            )
        self._encoders = _plain_encoders(backend)
        self._special = {token: tokenizer.convert_tokens_to_ids(token) for token in special_tokens(tokenizer)}
        alternatives = "|".join(re.escape(token) for token in sorted(self._special, key=len, reverse=True))
        self._split = re.compile(f"({alternatives})") if alternatives else None
        self._prefix = _added_prefix(tokenizer)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids to generate an answer from."""
        return self._encode([self._plan(self.template.prompt(messages))])[0].input_ids

    def example(self, messages: Sequence[Message]) -> Example:
        return self.examples([messages])[0]

    def examples(self, conversations: Sequence[Sequence[Message]]) -> list[Example]:
        """Many at once: one call into the tokenizer for all of them."""
        return self._encode([_until_last_answer(self._plan(self.template.render(each))) for each in conversations])

    def text_of(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _encode(self, plans: Sequence[list[_Run]]) -> list[Example]:
        ids = self._encode_text([run for plan in plans for run in plan])
        examples = []
        for plan in plans:
            input_ids = list(self._prefix_for(plan))
            labels = [IGNORE] * len(input_ids)
            for run in plan:
                piece = next(ids)
                input_ids += piece
                labels += piece if run.trained else [IGNORE] * len(piece)
            examples.append(Example(input_ids, labels))
        return examples

    def _encode_text(self, runs: list[_Run]) -> Iterator[list[int]]:
        """The ids of each run in order; all text for one encoder goes through it in one batch."""
        texts: list[list[str]] = [[], [], []]
        for run in runs:
            if run.token < 0:
                texts[run.encoder].append(run.text)
        batches = [
            iter(encoder.encode_batch_fast(batch, add_special_tokens=False))
            for encoder, batch in zip(self._encoders, texts, strict=True)
        ]
        for run in runs:
            yield [run.token] if run.token >= 0 else next(batches[run.encoder]).ids

    def _plan(self, segments: Sequence[Segment]) -> list[_Run]:
        runs: list[_Run] = []
        for segment in segments:
            for piece in self._pieces(segment):
                _append(runs, piece, segment.trained, self._special if segment.control else {})
        return runs

    def _pieces(self, segment: Segment) -> list[str]:
        if not segment.control:
            return [segment.text]
        text = segment.text.replace(EOS, self.tokenizer.eos_token or "")
        return [piece for piece in (self._split.split(text) if self._split else [text]) if piece]

    def _prefix_for(self, plan: list[_Run]) -> list[int]:
        """What the tokenizer itself puts first, unless the template already wrote it."""
        first = plan[0].token if plan else -1
        return [] if first in self._prefix else self._prefix


START, AFTER_TOKEN, INSIDE = 0, 1, 2
"""Where a run stands: at the very start, after a control token, or in the middle of text."""


def _append(runs: list[_Run], piece: str, trained: bool, special: dict[str, int]) -> None:
    if piece in special:
        runs.append(_Run(trained, token=special[piece]))
        return
    last = runs[-1] if runs else None
    if last is not None and last.token < 0 and last.trained == trained:
        runs[-1] = _Run(trained, text=last.text + piece, encoder=last.encoder)
    else:
        place = START if last is None else AFTER_TOKEN if last.token >= 0 else INSIDE
        runs.append(_Run(trained, text=piece, encoder=place))


def _until_last_answer(runs: list[_Run]) -> list[_Run]:
    """Without what follows the last trained run: no loss ever looks at it."""
    last = max((index for index, run in enumerate(runs) if run.trained), default=len(runs) - 1)
    return runs[: last + 1]


def special_tokens(tokenizer: Any) -> list[str]:
    """Texts that this tokenizer reads as control tokens."""
    return [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]


def _added_prefix(tokenizer: Any) -> list[int]:
    """The ids a tokenizer puts before any text: usually nothing or its beginning-of-sequence token."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return list(full[:start])
    return []


def _plain_encoders(backend: Any) -> tuple[Any, Any, Any]:
    """Encoders for the three places a run can stand, none of which recognises control tokens.

    Tokenizers that put a space before text do so at the start (SentencePiece's dummy prefix), some
    also after each control token, and none in the middle of a text.
    """
    from tokenizers import Tokenizer

    source = json.loads(backend.to_str())
    source["truncation"] = source["padding"] = source["post_processor"] = None
    _hide_control_tokens(source)
    edited = json.loads(json.dumps(source))
    after_token_too = _drop_prefix(edited)

    def build(spec: dict[str, Any]) -> Any:
        encoder = Tokenizer.from_str(json.dumps(spec))
        encoder.encode_special_tokens = True
        return encoder

    start = build(source)
    if edited == source:
        return start, start, start
    inside = build(edited)
    return start, start if after_token_too else inside, inside


def _hide_control_tokens(spec: dict[str, Any]) -> None:
    """Edit a tokenizer's JSON so that no text spells a control token.

    Not to look for them is not enough: where they stand in the model's own vocabulary (Unigram) or
    where merges lead to them (BPE made from SentencePiece), the model itself would put them together.
    They keep their ids under names that nobody can guess.
    """
    secret = secrets.token_hex(16)
    hidden = {token["content"]: secret + token["content"] for token in spec["added_tokens"] if token["special"]}
    for token in spec["added_tokens"]:
        token["content"] = hidden.get(token["content"], token["content"])
    model = spec["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {hidden.get(piece, piece): number for piece, number in model["vocab"].items()}
    else:
        model["vocab"] = [[hidden.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token") in hidden:
        model["unk_token"] = hidden[model["unk_token"]]
    if "merges" in model:
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        model["merges"] = [pair for pair in pairs if not {*pair, "".join(pair)} & hidden.keys()]


def _drop_prefix(spec: dict[str, Any]) -> bool:
    """Edit a tokenizer's JSON so that it adds no leading space; True if it added one after every control token."""
    always = False
    for stage in ("normalizer", "pre_tokenizer"):
        for part in _parts(spec, stage):
            if part["type"] == "Prepend":
                part.clear()
                part.update(type="Sequence", normalizers=[])
                always = True
            elif part["type"] == "Metaspace" and part.get("prepend_scheme") != "never":
                always = always or part["prepend_scheme"] == "always"
                part["prepend_scheme"] = "never"
            elif part["type"] == "ByteLevel" and part.get("add_prefix_space"):
                always, part["add_prefix_space"] = True, False
    return always


def _parts(spec: dict[str, Any], stage: str) -> list[dict[str, Any]]:
    part = spec.get(stage)
    if not part:
        return []
    inner = part.get("normalizers") or part.get("pretokenizers")
    return list(inner) if part["type"] == "Sequence" and inner else [part]
