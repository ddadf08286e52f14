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
    delta includes their text. An answer that fails raises its error, unless `raise_errors` is off: then its delta has
    the error, and the other answers go on.
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
        raise_errors: bool = True,
    ) -> None:
        self._raise_errors = raise_errors
        samplings = [sampling] * len(prompts) if isinstance(sampling, Sampling) else sampling
        requests = list(zip(prompts, samplings, prefix_ids or [()] * len(prompts), strict=True))
        self._answers = [StreamingAnswer(loaded, ids, each, plain, prefix) for ids, each, prefix in requests]
        self._stream = loaded.engine.stream(
            [
                Request([*ids, *prefix], each, adapter, stop_ids(loaded, each), logprobs)
                for ids, each, prefix in requests
            ]
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
            if delta is not None and delta.error is not None and self._raise_errors:
                raise delta.error
            if delta is not None:
                yield replace(delta, index=event.index)


class StreamingAnswer:
    """One answer while it is generated: its tokens, its text so far and how much of both was given out."""

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: Sequence[int],
        sampling: Sampling,
        plain: bool,
        prefix_ids: Sequence[int] = (),
    ) -> None:
        template_stops = () if plain else loaded.stop_texts
        self._text = TextStream(loaded.encoder.decoder, (*template_stops, *sampling.stop), prompt)
        self._parse = str if plain else loaded.template.parse
        self._logprobs: list[tuple[int, TokenLogprob]] = []  # and where the token's text begins
        self._prompt_tokens = len(prompt)
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
        if event.error is not None:
            self._done = True
            return AnswerDelta(0, "", error=event.error)
        if event.token_logprob is not None:
            self._logprobs.append((self._text.decoded, event.token_logprob))
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
        logprobs = self._new_logprobs() if self.stopped else self._all_logprobs()
        return AnswerDelta(0, text, self._parse(self._raw), stats, logprobs, tuple(self._ids), self._new_ids())

    def _new_ids(self) -> tuple[int, ...]:
        ids = tuple(self._ids[self._ids_sent :])
        self._ids_sent = len(self._ids)
        return ids

    def _new_logprobs(self) -> tuple[TokenLogprob, ...]:
        """Of tokens whose text is shown, in part at least: what comes next may be of a stop text."""
        shown = sum(begin < len(self._raw) for begin, _ in self._logprobs)
        logprobs = tuple(each for _, each in self._logprobs[:shown])
        self._logprobs = self._logprobs[shown:]
        return logprobs

    def _all_logprobs(self) -> tuple[TokenLogprob, ...]:
        return tuple(each for _, each in self._logprobs)

    def _new_text(self) -> str:
        """What the parsed answer has grown by."""
        answer = self._parse(self._raw)
        if not answer.startswith(self._text_sent):
            return ""
        text, self._text_sent = answer[len(self._text_sent) :], answer
        return text


def stop_ids(loaded: LoadedModel, sampling: Sampling) -> frozenset[int]:
    """Token ids that end an answer: those of the model, and stop texts that are control tokens."""
    return loaded.stops | {loaded.encoder.special[stop] for stop in sampling.stop if stop in loaded.encoder.special}


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
    raise_errors: bool = True,
) -> AnswerStream:
    """Generate answers with the adapter, or with the bare base model if not `tuned`. `plain` text is what the model
    generates, without the template's stop texts and parsing; `logprobs` requests the tokens' log-probabilities;
    `prefix_ids` has the tokens of answers to continue; `raise_errors` is as in `AnswerStream`."""
    adapter = loaded.adapter if tuned else None
    return AnswerStream(loaded, prompts, sampling, adapter, plain, logprobs, prefix_ids, raise_errors)


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
