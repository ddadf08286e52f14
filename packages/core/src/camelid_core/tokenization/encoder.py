"""The encoder: template segments + tokenizer → token ids and labels.

Knows how text becomes token ids and keeps two promises: the ids of a prompt are a prefix of the ids of
the whole conversation, and nothing a person wrote becomes a control token. Knows no template and
no model. `tokenizer` is always a transformers tokenizer with a `tokenizers` backend.

Text between two control tokens, or between a prompt and its answer, is encoded as one span, so the
ids equal those of the whole text encoded at once; the one forced token boundary is where an answer
starts, which is where generation starts too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from camelid_core.errors import CamelidError, ModelError
from camelid_core.records import Message, is_text
from camelid_core.templates.prompt_end import PromptEndTemplate, with_prompt_end
from camelid_core.templates.segments import EOS, Segment, fill_special_tokens, without_loss
from camelid_core.templates.template import PromptTemplate, for_tokenizer, unfinished

from .control_tokens import Piece, TokenManners, control_tokens
from .plain_text import plain_encoders
from .stable_prefix import splits_into_words, stable_prefix_length
from .token_decoder import TokenDecoder

if TYPE_CHECKING:
    import numpy as np

IGNORE = -100
"""Label of a token that is not trained on: the `ignore_index` of torch's cross-entropy."""
TOKENIZATION_VERSION = 2
"""Increment it when this module gives other ids or labels than before: it invalidates what is in the token cache."""


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised conversation or text; `labels` has the token id where it is trained on, else `IGNORE`."""

    input_ids: list[int]
    labels: list[int]


class TokenArrays(NamedTuple):
    """Many examples concatenated: row n is `ids[offsets[n]:offsets[n + 1]]`; `trained` is the loss mask."""

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
    """A control token or a piece of text of one conversation. `ids` are known already: the token's, or those of the
    text's stable prefix; `text` is what is left for one of the three encoders."""

    trained: bool
    control: bool
    ids: list[int]
    text: str = ""
    encoder: int = 0


AT_START, AFTER_TOKEN, INSIDE_TEXT = 0, 1, 2
"""Position of a span: at the very start, after a control token, or in the middle of text."""

_MAX_CACHED_TEXTS = 4096
"""Bound of the caches for template texts: only templates that write something new every time reach it."""


class Encoder:
    """Encodes conversations under one template with one tokenizer. Threads may share one.

    `special` has the id of every control token, `prefix` the ids that come before any text: what the tokenizer itself
    puts there, and nothing where the template is complete.

    A text by itself has no part of the template: its ids are the tokenizer's own for it, with what it puts first and
    its end-of-sequence token at the end, if it has one; all are trained. Where prompts end with a mark, it stands first
    and is not trained: the text is an answer to nothing.

    Raises:
        ModelError: the tokenizer has no `tokenizers` backend.
    """

    def __init__(self, tokenizer: Any, template: PromptTemplate) -> None:
        self.tokenizer = tokenizer
        self.template = with_prompt_end(for_tokenizer(template, tokenizer), tokenizer)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(
                f"tokenizer {type(tokenizer).__name__!r} has no fast backend; convert it to tokenizer.json."
            )
        controls = control_tokens(tokenizer, self.template)
        self._encoders = plain_encoders(backend, controls)
        self.special = {token: tokenizer.convert_tokens_to_ids(token) for token in controls}
        self._manners = TokenManners(tokenizer)
        alternatives = "|".join(re.escape(token) for token in sorted(self.special, key=len, reverse=True))
        self._split = re.compile(f"({alternatives})") if alternatives else None
        self._eos, self._bos = tokenizer.eos_token or "", tokenizer.bos_token or ""
        self._splits_into_words = splits_into_words(backend)
        self._control_pieces: dict[str, list[tuple[int, str]]] = {}
        self._constants: dict[tuple[str, int], list[int]] = {}
        self._stable_prefixes: dict[tuple[str, int], tuple[int, list[int]]] = {}
        self._added = _added_ids(tokenizer)
        self.prefix = [] if getattr(self.template, "complete", False) else self._added[0]

    @cached_property
    def decoder(self) -> TokenDecoder:
        return TokenDecoder(self.tokenizer)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the prompt to generate an answer from."""
        return self._encode([self._plan(self.template.prompt(messages))])[0].input_ids

    def given_ids(self, messages: Sequence[Message]) -> list[int]:
        """What a model is given: the prompt, then the unfinished answer that a conversation ends with, if any."""
        if not messages or messages[-1].role != "assistant":
            return self.prompt_ids(messages)
        return self.prompt_ids(messages[:-1]) + self.answer_prefix_ids(messages)

    def answer_prefix_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the unfinished answer that a conversation ends with; they continue `prompt_ids` of the rest."""
        if not messages[-1].content.strip():
            return []
        whole = self._encode([self._plan(unfinished(self.template, messages))])[0].input_ids
        return whole[len(self.prompt_ids(messages[:-1])) :]

    @property
    def stop_ids(self) -> list[int]:
        """The tokens that end an answer: the tokenizer's end of sequence, and the template's stops that are tokens."""
        eos = [] if self.tokenizer.eos_token_id is None else [int(self.tokenizer.eos_token_id)]
        return eos + [self.special[stop] for stop in self.template.stops if stop in self.special]

    @property
    def ends_with_token(self) -> bool:
        """Whether what ends a trained answer is one of `stop_ids`: else only a stop text can end it."""
        return self.example([Message("user", "x"), Message("assistant", "y")]).labels[-1] in self.stop_ids

    def example(self, messages: Sequence[Message]) -> Example:
        return self.examples([messages])[0]

    def examples(self, conversations: Sequence[Sequence[Message]]) -> list[Example]:
        """Batched: one call into the tokenizer for all of them."""
        return self._encode([self._example_plan(each) for each in conversations])

    def tokens(self, conversations: Sequence[Sequence[Message]]) -> TokenArrays:
        """The same as `examples`, as arrays; a conversation that the template cannot render is a row of no tokens."""
        import numpy as np

        plans = [self._plan_or_none(each) for each in conversations]
        encoded = self._encode_spans([span for plan in plans if plan for span in plan])
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
                for span in plan:
                    span_ids = next(encoded)
                    ids += span_ids
                    trained.append(span.trained)
                    counts.append(len(span_ids))
            offsets.append(len(ids))
        return TokenArrays(np.array(ids, np.int32), np.repeat(np.array(trained, np.bool_), counts), np.array(offsets))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _encode(self, plans: Sequence[list[_Span]]) -> list[Example]:
        encoded = self._encode_spans([span for plan in plans for span in plan])
        examples = []
        for plan in plans:
            input_ids = list(self._prefix_for(plan))
            labels = [IGNORE] * len(input_ids)
            for span in plan:
                span_ids = next(encoded)
                input_ids += span_ids
                labels += span_ids if span.trained else [IGNORE] * len(span_ids)
            examples.append(Example(input_ids, labels))
        return examples

    def _encode_spans(self, spans: list[_Span]) -> Iterator[list[int]]:
        """The ids of each span in order; all text for one encoder goes through it in one batch."""
        texts: list[list[str]] = [[], [], []]
        for span in spans:
            if span.text:
                texts[span.encoder].append(span.text)
        batches = [
            iter(encoder.encode_batch_fast(batch, add_special_tokens=False)) if batch else iter(())
            for encoder, batch in zip(self._encoders, texts, strict=True)
        ]
        for span in spans:
            if not span.text:
                yield span.ids
            else:
                ids: list[int] = next(batches[span.encoder]).ids
                yield span.ids + ids if span.ids else ids

    def _example_plan(self, messages: Sequence[Message]) -> list[_Span]:
        if is_text(messages):
            return self._text_plan(messages[0].content)
        segments = self.template.render(messages)
        answers = [message.trained for message in messages if message.role == "assistant"]
        if isinstance(self.template, PromptEndTemplate):
            answers = answers[-1:]
        return _until_last_answer(self._plan(segments if all(answers) else without_loss(segments, answers)))

    def _text_plan(self, text: str) -> list[_Span]:
        if isinstance(self.template, PromptEndTemplate):
            plan = self._plan([Segment(self.template.end, control=True), Segment(text, trained=True)])
            return [*plan, *self._plan([Segment(EOS, trained=True, control=True)])]
        before, after = self._added
        eos = self.tokenizer.convert_tokens_to_ids(self._eos) if self._eos else None
        end = after if eos is None or eos in after else [*after, eos]
        spans = [_Span(True, True, before), _Span(True, False, [], text, AT_START), _Span(True, True, end)]
        return [span for span in spans if span.ids or span.text]

    def _plan_or_none(self, messages: Sequence[Message]) -> list[_Span] | None:
        try:
            return self._example_plan(messages)
        except CamelidError:
            return None

    def _plan(self, segments: Sequence[Segment]) -> list[_Span]:
        """Split segments into spans: every control token is one, and so is all text between two of them."""
        spans: list[_Span] = []
        text: list[str] = []  # of the span that is being collected
        trained = constant = fixed = False  # of that span: is it trained, is all of it template text, is its beginning
        for token, piece, segment in self._pieces(segments):
            if token < 0 and text and trained == segment.trained:
                text.append(piece)
                constant = constant and segment.control
                continue
            if text:
                spans.append(self._text_span(spans, text, trained, constant, fixed))
                text = []
            if token >= 0:
                spans.append(_Span(segment.trained, True, [token]))
            else:
                text, trained, constant, fixed = [piece], segment.trained, segment.control, segment.control
        if text:
            spans.append(self._text_span(spans, text, trained, constant, fixed))
        return spans

    def _pieces(self, segments: Sequence[Segment]) -> list[Piece]:
        """The control tokens of segments and the text between them, as the tokenizer reads them beside each other."""
        pieces = [
            Piece(token, text, segment)
            for segment in segments
            for token, text in (self._split_control_tokens(segment.text) if segment.control else ((-1, segment.text),))
        ]
        return self._manners.apply(pieces) if self._manners.any else pieces

    def _text_span(self, spans: list[_Span], text: list[str], trained: bool, constant: bool, fixed: bool) -> _Span:
        position = AT_START if not spans else AFTER_TOKEN if spans[-1].control else INSIDE_TEXT
        whole = "".join(text)
        if constant:
            return _Span(trained, False, self._constant_ids(whole, position))
        if fixed and self._splits_into_words:
            size, ids = self._stable_prefix(text[0], position)
            if size:
                return _Span(trained, False, ids, whole[size:], INSIDE_TEXT)
        return _Span(trained, False, [], whole, position)

    def _constant_ids(self, text: str, position: int) -> list[int]:
        """The ids of a span that is all template text; encoded once."""
        ids = self._constants.get((text, position))
        if ids is None:
            ids = list(self._encoders[position].encode(text, add_special_tokens=False).ids)
            if len(self._constants) < _MAX_CACHED_TEXTS:
                self._constants[text, position] = ids
        return ids

    def _stable_prefix(self, text: str, position: int) -> tuple[int, list[int]]:
        """How much of `text`, with which a span begins, has ids that do not depend on what follows; and those ids."""
        prefix = self._stable_prefixes.get((text, position))
        if prefix is None:
            start, inside = self._encoders[position], self._encoders[INSIDE_TEXT]
            size = stable_prefix_length(text, self.tokenizer.backend_tokenizer, start, inside)
            prefix = size, list(start.encode(text[:size], add_special_tokens=False).ids) if size else []
            if len(self._stable_prefixes) < _MAX_CACHED_TEXTS:
                self._stable_prefixes[text, position] = prefix
        return prefix

    def _split_control_tokens(self, text: str) -> list[tuple[int, str]]:
        """A template's own text in pieces, each a control token's id or plain text (-1); cached per text."""
        pieces = self._control_pieces.get(text)
        if pieces is None:
            whole = fill_special_tokens(text, self._eos, self._bos)
            parts = self._split.split(whole) if self._split else [whole]
            pieces = [(self.special.get(part, -1), part) for part in parts if part]
            if len(self._control_pieces) < _MAX_CACHED_TEXTS:
                self._control_pieces[text] = pieces
        return pieces

    def _prefix_for(self, plan: list[_Span]) -> list[int]:
        """The ids that the tokenizer itself puts first, unless the template already wrote them."""
        first = plan[0].ids[0] if plan and plan[0].control else -1
        return [] if first in self.prefix else self.prefix


def _until_last_answer(spans: list[_Span]) -> list[_Span]:
    """Without what follows the last trained span: no loss depends on it."""
    last = max((index for index, span in enumerate(spans) if span.trained), default=len(spans) - 1)
    return spans[: last + 1]


def _added_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids a tokenizer puts before any text, usually nothing or its beginning-of-sequence token, and after it."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return list(full[:start]), list(full[start + len(plain) :])
    return [], []
