"""Prompts in, text out: the one path from token ids to answers for chat, predict, evaluation and pages.

Knows engines, detokenising, stop texts and how a template reads an answer. Knows no files and no screens.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from camelid_core.errors import UsageError
from camelid_core.records import Message

from .assemble import Assembled
from .engine import Finish, PromptTooLong, Request, Sampling, Scored, TokenEvent
from .text_stream import TextStream


@dataclass(frozen=True, slots=True)
class Facts:
    """How an answer came about. `seconds` counts from the question, `first_token` to the first token."""

    finish: Finish
    tokens: int
    prompt_tokens: int
    seconds: float
    first_token: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens after the first one by the time they took: reading the prompt is not counted."""
        took = self.seconds - self.first_token
        return (self.tokens - 1) / took if self.tokens > 1 and took > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"tokens_per_second": round(self.tokens_per_second, 2)}


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of prompt `index`, and its tokens' probabilities where those were asked for. The last one has
    `facts`, the whole `answer` as the template reads it, and its tokens' `ids`; `news` are those since the last."""

    index: int
    text: str
    answer: str = ""
    facts: Facts | None = None
    scored: tuple[Scored, ...] = ()
    ids: tuple[int, ...] = ()
    news: tuple[int, ...] = ()


class Answers:
    """Answers to several prompts as they grow, in whatever order they come. Closing it stops the work on them.

    `begun` has, by prompt, the tokens that its answer begins with: it goes on after them, and the first delta has
    all that was said before.
    """

    def __init__(
        self,
        assembled: Assembled,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling | Sequence[Sampling],
        adapter: str | None,
        plain: bool = False,
        logprobs: int | None = None,
        begun: Sequence[Sequence[int]] = (),
    ) -> None:
        each = [sampling] * len(prompts) if isinstance(sampling, Sampling) else sampling
        rows = list(zip(prompts, each, begun or [()] * len(prompts), strict=True))
        self._growing = [_Growing(assembled, len(ids), one, plain, said) for ids, one, said in rows]
        self._stream = assembled.engine.stream(
            [Request([*ids, *said], one, adapter, assembled.stops, logprobs) for ids, one, said in rows]
        )
        self._deltas = self._run()

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        return next(self._deltas)

    def cancel(self, index: int = 0) -> None:
        """End one answer with what is there. From any thread."""
        self._stream.cancel(index)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> Iterator[Delta]:
        for event in self._stream:
            growing = self._growing[event.index]
            delta = growing.take(event)
            if growing.stopped:
                self._stream.cancel(event.index)
            if delta is not None:
                yield replace(delta, index=event.index)


class _Growing:
    """One answer on its way."""

    def __init__(
        self, assembled: Assembled, prompt_tokens: int, sampling: Sampling, plain: bool, begun: Sequence[int] = ()
    ) -> None:
        own = () if plain else assembled.stop_texts
        self._text = TextStream(assembled.decode, (*own, *sampling.stop))
        self._parse = str if plain else assembled.template.parse
        self._scored: list[Scored] = []
        self._prompt_tokens = prompt_tokens
        self._started = time.monotonic()
        self._first = 0.0
        self._tokens = 0
        self._ids = list(begun)
        self._told = len(begun)
        self._raw = "".join(self._text.push(token) for token in begun)
        self._shown = ""
        self._done = False

    @property
    def stopped(self) -> bool:
        return self._text.stopped

    def take(self, event: TokenEvent) -> Delta | None:
        """The delta to give out for an event, if there is one."""
        if self._done:
            return None
        if event.scored is not None:
            self._scored.append(event.scored)
        if event.token is not None:
            self._tokens += 1
            self._first = self._first or event.at - self._started
            self._ids.append(event.token)
            self._raw += self._text.push(event.token)
        finish: Finish | None = "stop" if self.stopped else event.finish
        if finish is not None:
            return self._end(finish, event.at)
        text = self._news()
        return Delta(0, text, scored=self._flushed(), news=self._new_ids()) if text else None

    def _end(self, finish: Finish, at: float) -> Delta:
        self._done = True
        self._raw += self._text.finish()
        text = self._news()
        seconds = at - self._started
        facts = Facts(finish, self._tokens, self._prompt_tokens, seconds, self._first or seconds)
        if self.stopped and not text:
            self._scored.clear()  # tokens of the stop text, of which nothing is shown
        return Delta(0, text, self._parse(self._raw), facts, self._flushed(), tuple(self._ids), self._new_ids())

    def _new_ids(self) -> tuple[int, ...]:
        news = tuple(self._ids[self._told :])
        self._told = len(self._ids)
        return news

    def _flushed(self) -> tuple[Scored, ...]:
        scored, self._scored = tuple(self._scored), []
        return scored

    def _news(self) -> str:
        """What the template's reading of the answer has grown by."""
        answer = self._parse(self._raw)
        if not answer.startswith(self._shown):
            return ""
        news, self._shown = answer[len(self._shown) :], answer
        return news


def ask(
    assembled: Assembled,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling | Sequence[Sampling],
    tuned: bool = True,
    plain: bool = False,
    logprobs: int | None = None,
    begun: Sequence[Sequence[int]] = (),
) -> Answers:
    """Answer prompts with the adapter, or with the bare base if not `tuned`; `plain` text is what the model says,
    neither ended nor read by the template; `logprobs` asks for the tokens' probabilities; `begun` has the tokens of
    answers to go on with."""
    return Answers(assembled, prompts, sampling, assembled.adapter if tuned else None, plain, logprobs, begun)


def prepare(assembled: Assembled, messages: Sequence[Message], begun: Sequence[int]) -> tuple[list[int], list[int]]:
    """Ids of a prompt, and of the answer to go on with where the conversation ends with one: `begun` if its own
    tokens are known, else its text's.

    Raises:
        UsageError: tokens that this model has not.
        ModelError: longer than the model takes.
    """
    if not messages or messages[-1].role != "assistant":
        return assembled.prompt_ids(messages), []
    said = replace(messages[-1], content=messages[-1].content.rstrip())
    ids = assembled.prompt_ids(messages[:-1])
    assembled.check_length(len(said.content))
    answer = list(begun) or assembled.encoder.begun_ids([*messages[:-1], said])
    size = assembled.vocabulary
    if any(not 0 <= token < size for token in begun):
        raise UsageError(f"the answer to go on with has a token id beyond the {size:,} of this model.")
    if len(ids) + len(answer) >= assembled.engine.context_length:
        raise PromptTooLong(len(ids) + len(answer), assembled.engine.context_length)
    return ids, answer
