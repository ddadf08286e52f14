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

from .loaded_models import LoadedModel
from .engine import FinishReason, PromptTooLong, Request, Sampling, TokenLogprob, TokenEvent
from .text_stream import TextStream


@dataclass(frozen=True, slots=True)
class AnswerStats:
    """How an answer came about. `seconds` counts from the question, `first_token` to the first token."""

    finish: FinishReason
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
    `stats`, the whole `answer` as the template reads it, and its tokens' `ids`; `news` are those since the last."""

    index: int
    text: str
    answer: str = ""
    stats: AnswerStats | None = None
    scored: tuple[TokenLogprob, ...] = ()
    ids: tuple[int, ...] = ()
    news: tuple[int, ...] = ()


class AnswerStream:
    """Answers to several prompts as they grow, in whatever order they come. Closing it stops the work on them.

    `prefix_ids` has, by prompt, the tokens that its answer begins with: it goes on after them, and the first delta has
    all that was said before.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling | Sequence[Sampling],
        adapter: str | None,
        plain: bool = False,
        logprobs: int | None = None,
        prefix_ids: Sequence[Sequence[int]] = (),
    ) -> None:
        each = [sampling] * len(prompts) if isinstance(sampling, Sampling) else sampling
        rows = list(zip(prompts, each, prefix_ids or [()] * len(prompts), strict=True))
        self._growing = [StreamingAnswer(loaded, len(ids), one, plain, said) for ids, one, said in rows]
        self._stream = loaded.engine.stream(
            [Request([*ids, *said], one, adapter, loaded.stops, logprobs) for ids, one, said in rows]
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


class StreamingAnswer:
    """One answer on its way."""

    def __init__(
        self, loaded: LoadedModel, prompt_tokens: int, sampling: Sampling, plain: bool, prefix_ids: Sequence[int] = ()
    ) -> None:
        own = () if plain else loaded.stop_texts
        self._text = TextStream(loaded.decode, (*own, *sampling.stop))
        self._parse = str if plain else loaded.template.parse
        self._scored: list[TokenLogprob] = []
        self._prompt_tokens = prompt_tokens
        self._started = time.monotonic()
        self._first = 0.0
        self._tokens = 0
        self._ids = list(prefix_ids)
        self._told = len(prefix_ids)
        self._raw = "".join(self._text.push(token) for token in prefix_ids)
        self._shown = ""
        self._done = False

    @property
    def stopped(self) -> bool:
        return self._text.stopped

    def take(self, event: TokenEvent) -> Delta | None:
        """The delta to give out for an event, if there is one."""
        if self._done:
            return None
        if event.token_logprob is not None:
            self._scored.append(event.token_logprob)
        if event.token is not None:
            self._tokens += 1
            self._first = self._first or event.at - self._started
            self._ids.append(event.token)
            self._raw += self._text.push(event.token)
        finish: FinishReason | None = "stop" if self.stopped else event.finish
        if finish is not None:
            return self._end(finish, event.at)
        text = self._news()
        return Delta(0, text, scored=self._flushed(), news=self._new_ids()) if text else None

    def _end(self, finish: FinishReason, at: float) -> Delta:
        self._done = True
        self._raw += self._text.finish()
        text = self._news()
        seconds = at - self._started
        stats = AnswerStats(finish, self._tokens, self._prompt_tokens, seconds, self._first or seconds)
        if self.stopped and not text:
            self._scored.clear()  # tokens of the stop text, of which nothing is shown
        return Delta(0, text, self._parse(self._raw), stats, self._flushed(), tuple(self._ids), self._new_ids())

    def _new_ids(self) -> tuple[int, ...]:
        news = tuple(self._ids[self._told :])
        self._told = len(self._ids)
        return news

    def _flushed(self) -> tuple[TokenLogprob, ...]:
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
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling | Sequence[Sampling],
    tuned: bool = True,
    plain: bool = False,
    logprobs: int | None = None,
    prefix_ids: Sequence[Sequence[int]] = (),
) -> AnswerStream:
    """Answer prompts with the adapter, or with the bare base if not `tuned`; `plain` text is what the model says,
    neither ended nor read by the template; `logprobs` asks for the tokens' probabilities; `prefix_ids` has the tokens of
    answers to go on with."""
    return AnswerStream(loaded, prompts, sampling, loaded.adapter if tuned else None, plain, logprobs, prefix_ids)


def continuation_ids(
    loaded: LoadedModel, messages: Sequence[Message], prefix_ids: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Ids of a prompt, and of the answer to go on with where the conversation ends with one: `prefix_ids` if its own
    tokens are known, else its text's.

    Raises:
        UsageError: tokens that this model has not.
        ModelError: longer than the model takes.
    """
    if not messages or messages[-1].role != "assistant":
        return loaded.prompt_ids(messages), []
    said = replace(messages[-1], content=messages[-1].content.rstrip())
    ids = loaded.prompt_ids(messages[:-1])
    loaded.check_length(len(said.content))
    answer = list(prefix_ids) or loaded.encoder.begun_ids([*messages[:-1], said])
    size = loaded.vocabulary
    if any(not 0 <= token < size for token in prefix_ids):
        raise UsageError(f"the answer to go on with has a token id beyond the {size:,} of this model.")
    if len(ids) + len(answer) >= loaded.engine.context_length:
        raise PromptTooLong(len(ids) + len(answer), loaded.engine.context_length)
    return ids, answer
