"""Text generation: prompts in, streamed answers out; the one path for chat, batch prediction, evaluation and the API.

Knows engines, detokenisation, stop texts and how a template parses an answer. Knows no files and no screens.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

from camelid_core.errors import UsageError
from camelid_core.records import Message

from .answers import AnswerDelta, AnswerStats
from .engine import FinishReason, PromptTooLong, Request, Sampling, TokenEvent, TokenLogprob
from .loaded_models import LoadedModel
from .text_stream import TextStream


class AnswerStream:
    """Streamed answers to several prompts: deltas in the order in which they come. Closing it cancels the requests.

    `prefix_ids` has, by prompt, the tokens that its answer begins with: generation continues after them, and the first
    delta includes their text.
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
        samplings = [sampling] * len(prompts) if isinstance(sampling, Sampling) else sampling
        requests = list(zip(prompts, samplings, prefix_ids or [()] * len(prompts), strict=True))
        self._answers = [StreamingAnswer(loaded, len(ids), each, plain, prefix) for ids, each, prefix in requests]
        self._stream = loaded.engine.stream(
            [Request([*ids, *prefix], each, adapter, loaded.stops, logprobs) for ids, each, prefix in requests]
        )
        self._deltas = self._run()

    def __iter__(self) -> Iterator[AnswerDelta]:
        return self

    def __next__(self) -> AnswerDelta:
        return next(self._deltas)

    def cancel(self, index: int = 0) -> None:
        """Finish one answer as cancelled, with what was generated so far. From any thread."""
        self._stream.cancel(index)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> Iterator[AnswerDelta]:
        for event in self._stream:
            answer = self._answers[event.index]
            delta = answer.take(event)
            if answer.stopped:
                self._stream.cancel(event.index)
            if delta is not None:
                yield replace(delta, index=event.index)


class StreamingAnswer:
    """One answer while it is generated: its tokens, its text so far and how much of both was given out."""

    def __init__(
        self, loaded: LoadedModel, prompt_tokens: int, sampling: Sampling, plain: bool, prefix_ids: Sequence[int] = ()
    ) -> None:
        template_stops = () if plain else loaded.stop_texts
        self._text = TextStream(loaded.decode, (*template_stops, *sampling.stop))
        self._parse = str if plain else loaded.template.parse
        self._logprobs: list[TokenLogprob] = []
        self._prompt_tokens = prompt_tokens
        self._started = time.monotonic()
        self._first_token = 0.0
        self._tokens = 0
        self._ids = list(prefix_ids)
        self._ids_sent = len(prefix_ids)
        self._raw = "".join(self._text.push(token) for token in prefix_ids)
        self._text_sent = ""
        self._done = False

    @property
    def stopped(self) -> bool:
        return self._text.stopped

    def take(self, event: TokenEvent) -> AnswerDelta | None:
        """The delta for an event of the engine, if there is one."""
        if self._done:
            return None
        if event.token_logprob is not None:
            self._logprobs.append(event.token_logprob)
        if event.token is not None:
            self._tokens += 1
            self._first_token = self._first_token or event.at - self._started
            self._ids.append(event.token)
            self._raw += self._text.push(event.token)
        finish: FinishReason | None = "stop" if self.stopped else event.finish
        if finish is not None:
            return self._end(finish, event.at)
        text = self._new_text()
        return AnswerDelta(0, text, logprobs=self._new_logprobs(), new_ids=self._new_ids()) if text else None

    def _end(self, finish: FinishReason, at: float) -> AnswerDelta:
        self._done = True
        self._raw += self._text.finish()
        text = self._new_text()
        seconds = at - self._started
        first_token = self._first_token or seconds
        speed = _decoding_speed(self._tokens, seconds - first_token)
        stats = AnswerStats(finish, self._tokens, self._prompt_tokens, seconds, first_token, speed)
        if self.stopped and not text:
            self._logprobs.clear()  # tokens of the stop text, of which nothing is shown
        return AnswerDelta(
            0, text, self._parse(self._raw), stats, self._new_logprobs(), tuple(self._ids), self._new_ids()
        )

    def _new_ids(self) -> tuple[int, ...]:
        ids = tuple(self._ids[self._ids_sent :])
        self._ids_sent = len(self._ids)
        return ids

    def _new_logprobs(self) -> tuple[TokenLogprob, ...]:
        logprobs, self._logprobs = tuple(self._logprobs), []
        return logprobs

    def _new_text(self) -> str:
        """What the parsed answer has grown by."""
        answer = self._parse(self._raw)
        if not answer.startswith(self._text_sent):
            return ""
        text, self._text_sent = answer[len(self._text_sent) :], answer
        return text


def _decoding_speed(tokens: int, seconds: float) -> float:
    """Tokens after the first one by the time they took, so that prefill is not counted."""
    return (tokens - 1) / seconds if tokens > 1 and seconds > 0 else 0.0


def generate(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling | Sequence[Sampling],
    tuned: bool = True,
    plain: bool = False,
    logprobs: int | None = None,
    prefix_ids: Sequence[Sequence[int]] = (),
) -> AnswerStream:
    """Generate answers with the adapter, or with the bare base model if not `tuned`. `plain` text is what the model
    generates, without the template's stop texts and parsing; `logprobs` requests the tokens' log-probabilities;
    `prefix_ids` has the tokens of answers to continue."""
    return AnswerStream(loaded, prompts, sampling, loaded.adapter if tuned else None, plain, logprobs, prefix_ids)


def continuation_ids(
    loaded: LoadedModel, messages: Sequence[Message], prefix_ids: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Token ids of a prompt, and of the answer to continue where the conversation ends with one: `prefix_ids` if its
    own tokens are known, else those of its text.

    Raises:
        UsageError: token ids outside the vocabulary.
        ModelError: longer than the model takes.
    """
    if not messages or messages[-1].role != "assistant":
        return loaded.prompt_ids(messages), []
    unfinished = replace(messages[-1], content=messages[-1].content.rstrip())
    ids = loaded.prompt_ids(messages[:-1])
    loaded.check_length(len(unfinished.content))
    answer = list(prefix_ids) or loaded.encoder.answer_prefix_ids([*messages[:-1], unfinished])
    size = loaded.vocabulary
    if any(not 0 <= token < size for token in prefix_ids):
        raise UsageError(f"the answer to go on with has a token id beyond the {size:,} of this model.")
    if len(ids) + len(answer) >= loaded.engine.context_length:
        raise PromptTooLong(len(ids) + len(answer), loaded.engine.context_length)
    return ids, answer
