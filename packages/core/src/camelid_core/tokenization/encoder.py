"""Segments + tokenizer → token ids and labels.

Knows how text becomes ids and keeps two promises: the ids of a prompt are a prefix of the ids of
the whole conversation, and nothing a person wrote becomes a control token. Knows no template and
no model. `tokenizer` is always a transformers tokenizer with a `tokenizers` backend.

Text between two control tokens, or between a prompt and its answer, is encoded as one run, so the
ids equal those of the whole text encoded at once; the one forced cut is where an answer starts,
which is where generation starts too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from camelid_core.errors import CamelidError, ModelError
from camelid_core.records import Message
from camelid_core.special_tokens import special_tokens
from camelid_core.templates.segments import Segment, fill_special_tokens
from camelid_core.templates.template import PromptTemplate, for_tokenizer

from .plain_text import plain_encoders
from .stable_prefix import splits_into_words, stable_prefix_length

if TYPE_CHECKING:
    import numpy as np

IGNORE = -100
"""Label of a position that is not trained on (torch's convention)."""
TOKENIZATION_VERSION = 1
"""Raise it when this module gives other ids or labels than before: what is cached under the old number is not used."""


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised conversation; `labels` has the id where it is trained on, else `IGNORE`."""

    input_ids: list[int]
    labels: list[int]


class TokenArrays(NamedTuple):
    """Many examples end to end: row n is `ids[offsets[n]:offsets[n + 1]]`; `trained` says which tokens are learnt."""

    ids: np.ndarray[Any, np.dtype[np.int32]]
    trained: np.ndarray[Any, np.dtype[np.bool_]]
    offsets: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def concatenate(cls, parts: Sequence[TokenArrays]) -> TokenArrays:
        import numpy as np

        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.trained for part in parts]),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        )


class _Span(NamedTuple):
    """A stretch of one conversation: a control token, or text. `ids` are known already: the token's, or those of
    the text's fixed beginning; `text` is what is left for one of the three encoders."""

    trained: bool
    control: bool
    ids: list[int]
    text: str = ""
    encoder: int = 0


AT_START, AFTER_TOKEN, INSIDE_TEXT = 0, 1, 2
"""Where a run stands: at the very start, after a control token, or in the middle of text."""

_MAX_CACHED_TEXTS = 4096
"""Texts of templates to keep the pieces of: more only come from templates that write something new every time."""


class Encoder:
    """Encodes conversations under one template with one tokenizer. Threads may share one.

    `special` has the id of every control token, `prefix` what the tokenizer itself puts before any text.

    Raises:
        ModelError: the tokenizer has no `tokenizers` backend.
    """

    def __init__(self, tokenizer: Any, template: PromptTemplate) -> None:
        self.tokenizer = tokenizer
        self.template = for_tokenizer(template, tokenizer)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(
                f"tokenizer {type(tokenizer).__name__!r} has no fast backend; convert it to tokenizer.json."
            )
        self._encoders = plain_encoders(backend)
        self.special = {token: tokenizer.convert_tokens_to_ids(token) for token in special_tokens(tokenizer)}
        alternatives = "|".join(re.escape(token) for token in sorted(self.special, key=len, reverse=True))
        self._split = re.compile(f"({alternatives})") if alternatives else None
        self._eos, self._bos = tokenizer.eos_token or "", tokenizer.bos_token or ""
        self._splits_into_words = splits_into_words(backend)
        self._remembered: dict[str, list[tuple[int, str]]] = {}
        self._constants: dict[tuple[str, int], list[int]] = {}
        self._heads: dict[tuple[str, int], tuple[int, list[int]]] = {}
        self.prefix = _added_prefix(tokenizer)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids to generate an answer from."""
        return self._encode([self._plan(self.template.prompt(messages))])[0].input_ids

    def answer_prefix_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the unfinished answer that a conversation ends with; they go on from `prompt_ids` of the rest."""
        if not messages[-1].content.strip():
            return []
        segments = list(self.template.render(messages))
        while segments[-1].control:  # what ends an answer
            segments.pop()
        whole = self._encode([self._plan(segments)])[0].input_ids
        return whole[len(self.prompt_ids(messages[:-1])) :]

    def example(self, messages: Sequence[Message]) -> Example:
        return self.examples([messages])[0]

    def examples(self, conversations: Sequence[Sequence[Message]]) -> list[Example]:
        """Many at once: one call into the tokenizer for all of them."""
        return self._encode([self._example_plan(each) for each in conversations])

    def tokens(self, conversations: Sequence[Sequence[Message]]) -> TokenArrays:
        """The same as `examples`, as arrays; a conversation that the template has no form for is a row of no tokens."""
        import numpy as np

        plans = [self._plan_or_none(each) for each in conversations]
        pieces = self._pieces([run for plan in plans if plan for run in plan])
        ids: list[int] = []
        trained: list[bool] = []
        counts: list[int] = []
        offsets = [0]
        for plan in plans:
            if plan is not None:
                prefix = self._prefix_for(plan)
                ids += prefix
                trained.append(False)
                counts.append(len(prefix))
                for run in plan:
                    piece = next(pieces)
                    ids += piece
                    trained.append(run.trained)
                    counts.append(len(piece))
            offsets.append(len(ids))
        return TokenArrays(np.array(ids, np.int32), np.repeat(np.array(trained, np.bool_), counts), np.array(offsets))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _encode(self, plans: Sequence[list[_Span]]) -> list[Example]:
        pieces = self._pieces([run for plan in plans for run in plan])
        examples = []
        for plan in plans:
            input_ids = list(self._prefix_for(plan))
            labels = [IGNORE] * len(input_ids)
            for run in plan:
                piece = next(pieces)
                input_ids += piece
                labels += piece if run.trained else [IGNORE] * len(piece)
            examples.append(Example(input_ids, labels))
        return examples

    def _pieces(self, runs: list[_Span]) -> Iterator[list[int]]:
        """The ids of each run in order; all text for one encoder goes through it in one batch."""
        texts: list[list[str]] = [[], [], []]
        for run in runs:
            if run.text:
                texts[run.encoder].append(run.text)
        batches = [
            iter(encoder.encode_batch_fast(batch, add_special_tokens=False)) if batch else iter(())
            for encoder, batch in zip(self._encoders, texts, strict=True)
        ]
        for run in runs:
            if not run.text:
                yield run.ids
            else:
                ids: list[int] = next(batches[run.encoder]).ids
                yield run.ids + ids if run.ids else ids

    def _example_plan(self, messages: Sequence[Message]) -> list[_Span]:
        return _until_last_answer(self._plan(self.template.render(messages)))

    def _plan_or_none(self, messages: Sequence[Message]) -> list[_Span] | None:
        try:
            return self._example_plan(messages)
        except CamelidError:
            return None

    def _plan(self, segments: Sequence[Segment]) -> list[_Span]:
        runs: list[_Span] = []
        text: list[str] = []  # of the run that is being gathered
        trained = constant = fixed = False  # of that run: is it learnt, is all of it the template's, is its first piece
        for segment in segments:
            for token, piece in self._control(segment.text) if segment.control else ((-1, segment.text),):
                if token < 0 and text and trained == segment.trained:
                    text.append(piece)
                    constant = constant and segment.control
                    continue
                if text:
                    runs.append(self._text_run(runs, text, trained, constant, fixed))
                    text = []
                if token >= 0:
                    runs.append(_Span(segment.trained, True, [token]))
                else:
                    text, trained, constant, fixed = [piece], segment.trained, segment.control, segment.control
        if text:
            runs.append(self._text_run(runs, text, trained, constant, fixed))
        return runs

    def _text_run(self, runs: list[_Span], text: list[str], trained: bool, constant: bool, fixed: bool) -> _Span:
        place = AT_START if not runs else AFTER_TOKEN if runs[-1].control else INSIDE_TEXT
        whole = "".join(text)
        if constant:
            return _Span(trained, False, self._constant(whole, place))
        if fixed and self._splits_into_words:
            size, ids = self._head(text[0], place)
            if size:
                return _Span(trained, False, ids, whole[size:], INSIDE_TEXT)
        return _Span(trained, False, [], whole, place)

    def _constant(self, text: str, place: int) -> list[int]:
        """The ids of a run that is the template's alone; encoded once."""
        ids = self._constants.get((text, place))
        if ids is None:
            ids = list(self._encoders[place].encode(text, add_special_tokens=False).ids)
            if len(self._constants) < _MAX_CACHED_TEXTS:
                self._constants[text, place] = ids
        return ids

    def _head(self, text: str, place: int) -> tuple[int, list[int]]:
        """How much of `text`, with which a run begins, has ids that do not depend on what follows; and those ids."""
        head = self._heads.get((text, place))
        if head is None:
            start, inside = self._encoders[place], self._encoders[INSIDE_TEXT]
            size = stable_prefix_length(text, self.tokenizer.backend_tokenizer, start, inside)
            head = size, list(start.encode(text[:size], add_special_tokens=False).ids) if size else []
            if len(self._heads) < _MAX_CACHED_TEXTS:
                self._heads[text, place] = head
        return head

    def _control(self, text: str) -> list[tuple[int, str]]:
        """A template's own text in pieces, each a control token's id or plain text; found once per text."""
        pieces = self._remembered.get(text)
        if pieces is None:
            whole = fill_special_tokens(text, self._eos, self._bos)
            parts = self._split.split(whole) if self._split else [whole]
            pieces = [(self.special.get(part, -1), part) for part in parts if part]
            if len(self._remembered) < _MAX_CACHED_TEXTS:
                self._remembered[text] = pieces
        return pieces

    def _prefix_for(self, plan: list[_Span]) -> list[int]:
        """What the tokenizer itself puts first, unless the template already wrote it."""
        first = plan[0].ids[0] if plan and plan[0].control else -1
        return [] if first in self.prefix else self.prefix


def _until_last_answer(runs: list[_Span]) -> list[_Span]:
    """Without what follows the last trained run: no loss ever looks at it."""
    last = max((index for index, run in enumerate(runs) if run.trained), default=len(runs) - 1)
    return runs[: last + 1]


def _added_prefix(tokenizer: Any) -> list[int]:
    """The ids a tokenizer puts before any text: usually nothing or its beginning-of-sequence token."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return list(full[:start])
    return []
