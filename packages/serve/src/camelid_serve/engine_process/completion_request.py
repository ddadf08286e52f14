"""One request of the HTTP API, in the engine process: prompts in, texts and log-probabilities out as events.

Knows the options of such a request. Knows nothing of HTTP and of clients.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from camelid_core.errors import UsageError
from camelid_core.readers import parse_message

from camelid_serve.answers import AnswerDelta, AnswerStats
from camelid_serve.engine import ComputesPromptLogprobs, PromptTooLong, Sampling, TokenLogprob
from camelid_serve.generation import AnswerStream, generate, stop_ids
from camelid_serve.loaded_models import LoadedModel
from camelid_serve.text_stream import TextStream
from camelid_serve.token_names import TokenNames

from .messages import CompleteCommand

Emit = Callable[..., None]
_HEARTBEAT_SECONDS = 1.0
_LONG_PROMPT = 20_000
"""Characters; longer prompts are encoded one at a time, as the memory that takes is kept per thread."""


class CompletionRun:
    """One running request. `run` blocks until it has ended; `cancel` ends it from any thread. `emit` sends an event;
    `long_prompts` is the one thread on which long prompts are encoded."""

    def __init__(self, loaded: LoadedModel, command: CompleteCommand, emit: Emit, long_prompts: Executor) -> None:
        stops = loaded.stops | frozenset(command.stops)
        self._loaded = replace(loaded, stops=stops) if command.stops else loaded
        self._command = command
        self._emit = emit
        self._long_prompts = long_prompts
        self._lock = threading.Lock()
        self._answers: AnswerStream | None = None
        self._cancelled = False
        self._last_event = time.monotonic()

    def run(self) -> None:
        """Generate the answers, and send events.

        Raises:
            UsageError, DataError, TemplateError: the request cannot be answered.
            ModelError: a prompt too long among them, or the engine failed.
        """
        command = self._command
        is_long = self._characters >= _LONG_PROMPT
        prompts = self._long_prompts.submit(self._prompts).result() if is_long else self._prompts()
        with_logprobs = command.echo and command.logprobs is not None
        self._announce_prefill(prompts, 2 if with_logprobs and command.generate else 1)
        prompt_logprobs = self._all_prompt_logprobs(prompts) if with_logprobs else None
        described = self._describe_prompts(prompts, prompt_logprobs)
        if command.stream:
            self._emit(event="begun", prompts=described)
        rows = self._generate(prompts, prompt_logprobs) if command.generate else self._empty_rows(prompts)
        self._emit(event="done", prompts=described, rows=rows)

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            answers = self._answers
        if answers is not None:
            for index in range(self._rows):
                answers.cancel(index)

    @property
    def _characters(self) -> int:
        turns = (len(turn["content"]) for turn in self._command.messages or [])
        return sum(turns) + sum(len(prompt) for prompt in self._command.prompts or [])

    @property
    def _rows(self) -> int:
        return len(self._command.prompts or [""]) * self._command.count

    def _prompts(self) -> list[list[int]]:
        loaded, command = self._loaded, self._command
        if command.messages is not None:
            turns = [parse_message(turn, f"message {count}") for count, turn in enumerate(command.messages, 1)]
            return [loaded.prompt_ids(turns)]
        return [self._encode(prompt, f"prompt {count}") for count, prompt in enumerate(command.prompts or [], 1)]

    def _encode(self, prompt: str | list[int], where: str) -> list[int]:
        if isinstance(prompt, str):
            self._loaded.check_length(len(prompt))
        ids = self._loaded.encoder.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        if not ids:
            raise UsageError(f"{where} is empty; it needs at least one token.")
        size = self._loaded.vocabulary
        if max(ids) >= size or min(ids) < 0:
            raise UsageError(f"{where} has a token id beyond the {size:,} of this model.")
        if len(ids) >= self._loaded.engine.context_length:
            raise PromptTooLong(len(ids), self._loaded.engine.context_length)
        return list(ids)

    def _announce_prefill(self, prompts: Sequence[list[int]], passes: int = 1) -> None:
        """Say how many tokens are to be computed before the next event; beam search ends before it says anything."""
        sampling = self._command.sampling
        beams = self._rows * sampling.num_beams * sampling.max_new_tokens if sampling.num_beams > 1 else 0
        self._emit(event="prefill", tokens=passes * sum(map(len, prompts)) + beams)

    def _all_prompt_logprobs(self, prompts: list[list[int]]) -> list[list[TokenLogprob]]:
        found = []
        for number, ids in enumerate(prompts, 1):
            found.append(self._prompt_logprobs(ids))
            if self._command.generate or number < len(prompts):  # the heartbeat said that prefill had ended
                self._announce_prefill(prompts[number:] + (prompts if self._command.generate else []))
        return found

    def _prompt_logprobs(self, ids: list[int]) -> list[TokenLogprob]:
        engine = self._loaded.engine
        if not isinstance(engine, ComputesPromptLogprobs):
            raise UsageError("this engine cannot tell probabilities of a prompt; leave out echo or logprobs.")
        if self._cancelled:
            return []
        logprobs = engine.prompt_logprobs(ids, self._loaded.adapter, self._command.logprobs or 0)
        self._heartbeat()
        return logprobs

    def _describe_prompts(
        self, prompts: Sequence[list[int]], prompt_logprobs: Sequence[list[TokenLogprob]] | None
    ) -> list[dict[str, Any]]:
        known = [{"tokens": len(ids), **({"ids": list(ids)} if self._command.ids else {})} for ids in prompts]
        if not self._command.echo:
            return known
        given = self._command.prompts or []
        described: list[dict[str, Any]] = []
        for number, ids in enumerate(prompts):
            typed = given[number]
            text = typed if isinstance(typed, str) else self._text(ids)
            described.append({**known[number], "text": text})
            if prompt_logprobs is not None:
                names = self._names(written=text)
                first = names.describe(TokenLogprob(ids[0], 0.0)) | {"logprob": None}  # no token comes before it
                rest = map(names.describe, prompt_logprobs[number][: len(ids) - 1])
                described[-1]["scored"] = [first, *rest]
        return described

    def _generate(
        self, prompts: list[list[int]], prompt_logprobs: list[list[TokenLogprob]] | None
    ) -> list[dict[str, Any]]:
        """Every row; where the prompts' log-probabilities were computed, one greedy token each is known already."""
        command = self._command
        sampling = command.sampling
        plain = command.messages is None
        if prompt_logprobs is not None and plain and _is_one_greedy_token(sampling) and not self._cancelled:
            return self._rows_from_prompt_logprobs(prompts, [logprobs[-1] for logprobs in prompt_logprobs])
        if command.messages and command.messages[-1]["role"] == "assistant":  # what is continued keeps its white space
            plain = True
            sampling = sampling.model_copy(update={"stop": (*sampling.stop, *self._loaded.stop_texts)})
        many = [ids for ids in prompts for _ in range(command.count)]
        each = [
            sampling.model_copy(update={"seed": sampling.seed + number})
            for _ in prompts
            for number in range(command.count)
        ]
        rows: list[dict[str, Any]] = [{} for _ in many]
        with generate(self._loaded, many, each, plain=plain, logprobs=command.logprobs) as answers:
            self._set_stream(answers)
            names = [self._names(ids) for ids in many]
            logprobs: list[list[dict[str, Any]]] = [[] for _ in many]
            for delta in answers:
                new = list(map(names[delta.index].describe, self._answer_logprobs(delta.logprobs)))
                logprobs[delta.index] += new
                self._emit_delta(delta, new)
                if delta.stats is not None:
                    rows[delta.index] = self._row(delta.answer, delta.stats, logprobs[delta.index], delta.ids)
        return rows

    def _answer_logprobs(self, logprobs: Sequence[TokenLogprob]) -> tuple[TokenLogprob, ...]:
        """The token that ended an answer is no part of it. With the prompts' log-probabilities its own is included:
        evaluations cut the last one off and sum the rest."""
        stops = stop_ids(self._loaded, self._command.sampling)
        return tuple(one for one in logprobs if self._command.echo or one.token not in stops)

    def _set_stream(self, answers: AnswerStream) -> None:
        with self._lock:
            self._answers = answers
            cancelled = self._cancelled
        if cancelled:
            self.cancel()

    def _emit_delta(self, delta: AnswerDelta, logprobs: Sequence[dict[str, Any]] = ()) -> None:
        if not self._command.stream:
            self._heartbeat()
            return
        event: dict[str, Any] = {"event": "delta", "index": delta.index, "text": delta.text}
        if logprobs:
            event["scored"] = logprobs
        if self._command.ids:
            event["ids"] = delta.new_ids
        if delta.stats is not None:
            event["finish"] = delta.stats.finish
        self._emit(**event)

    def _heartbeat(self) -> None:
        now = time.monotonic()
        if now - self._last_event > _HEARTBEAT_SECONDS:
            self._last_event = now
            self._emit(event="alive")

    def _row(
        self, answer: str, stats: AnswerStats, logprobs: Sequence[dict[str, Any]], ids: Sequence[int] = ()
    ) -> dict[str, Any]:
        row: dict[str, Any] = {"answer": answer, "facts": stats.as_json()}
        if self._command.ids:
            row["ids"] = ids
        if self._command.logprobs is not None:
            row["scored"] = logprobs
        return row

    def _rows_from_prompt_logprobs(
        self, prompts: Sequence[list[int]], chosen: Sequence[TokenLogprob]
    ) -> list[dict[str, Any]]:
        rows = []
        for index in range(self._rows):
            ids, logprob = prompts[index // self._command.count], chosen[index // self._command.count]
            ends = logprob.token in stop_ids(self._loaded, self._command.sampling)
            text, stopped = self._one_token_text(ids, logprob.token) if not ends else ("", False)
            ends = ends or stopped
            stats = AnswerStats("stop" if ends else "length", 0 if ends else 1, len(ids))
            answer = () if ends else (logprob.token,)
            described = [self._names(ids).describe(logprob)]
            self._emit_delta(AnswerDelta(index, text, text, stats, (), answer, answer), described)
            rows.append(self._row(text, stats, described, answer))
        return rows

    def _one_token_text(self, prompt: Sequence[int], token: int) -> tuple[str, bool]:
        """The text of an answer of one token, and whether a stop text ends it."""
        stream = TextStream(self._loaded.encoder.decoder, self._command.sampling.stop, prompt)
        text = stream.push(token)
        return text + stream.finish(), stream.stopped

    def _empty_rows(self, prompts: Sequence[list[int]]) -> list[dict[str, Any]]:
        """No answers: an end of each row, for clients of a stream."""
        rows = []
        for index in range(self._rows):
            stats = AnswerStats("length", 0, len(prompts[index // self._command.count]))
            rows.append(self._row("", stats, []))
            if self._command.stream:
                self._emit_delta(AnswerDelta(index, "", "", stats))
        return rows

    def _text(self, ids: Sequence[int]) -> str:
        return self._loaded.encoder.decode(ids)

    def _names(self, before: Sequence[int] = (), written: str | None = None) -> TokenNames:
        return TokenNames(self._loaded.encoder.decoder, before, written, self._command.name_by_id)


def _is_one_greedy_token(sampling: Sampling) -> bool:
    unchanged = sampling.repetition_penalty == 1 and sampling.no_repeat_ngram_size == 0
    return sampling.max_new_tokens == 1 and sampling.temperature == 0 and unchanged
