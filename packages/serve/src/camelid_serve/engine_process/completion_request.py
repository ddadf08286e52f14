"""One request of the HTTP API, where the model is: prompts in, texts and probabilities out as events.

Knows what such a request can ask for. Knows nothing of HTTP and of who listens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from camelid_core.errors import UsageError
from camelid_core.readers import message

from camelid_serve.engine import ComputesPromptLogprobs, PromptTooLong, Sampling, TokenLogprob
from camelid_serve.generation import AnswerStats, AnswerStream, Delta, generate
from camelid_serve.loaded_models import LoadedModel

from .messages import Complete

Tell = Callable[..., None]
_ALIVE_SECONDS = 1.0
_LONG = 20_000
"""Characters; longer prompts are encoded one at a time, as the memory that takes is kept per thread."""
_long_prompts = ThreadPoolExecutor(1, "long prompts")


class Completion:
    """One request on its way. `run` blocks until it has ended; `cancel` ends it from any thread."""

    def __init__(self, loaded: LoadedModel, wanted: Complete, tell: Tell) -> None:
        stops = loaded.stops | frozenset(wanted.stops)
        self._assembled = replace(loaded, stops=stops) if wanted.stops else loaded
        self._wanted = wanted
        self._tell = tell
        self._lock = threading.Lock()
        self._answers: AnswerStream | None = None
        self._cancelled = False
        self._told = time.monotonic()

    def run(self) -> None:
        """Answer, and tell of it.

        Raises:
            UsageError, DataError, TemplateError: what was asked cannot be.
            ModelError: a prompt too long among them, or the engine failed.
        """
        wanted = self._wanted
        prompts = self._prompts() if self._characters < _LONG else _long_prompts.submit(self._prompts).result()
        worth = [self._prompt_logprobs(ids) for ids in prompts] if wanted.echo and wanted.logprobs is not None else None
        described = self._described(prompts, worth)
        if wanted.stream:
            self._tell(event="begun", prompts=described)
        rows = self._generate(prompts, worth) if wanted.generate else self._nothing(prompts)
        self._tell(event="done", prompts=described, rows=rows)

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            answers = self._answers
        if answers is not None:
            for index in range(self._rows):
                answers.cancel(index)

    @property
    def _characters(self) -> int:
        turns = (len(turn["content"]) for turn in self._wanted.messages or [])
        return sum(turns) + sum(len(prompt) for prompt in self._wanted.prompts or [])

    @property
    def _rows(self) -> int:
        return len(self._wanted.prompts or [""]) * self._wanted.count

    def _prompts(self) -> list[list[int]]:
        loaded, wanted = self._assembled, self._wanted
        if wanted.messages is not None:
            turns = [message(turn, f"message {count}") for count, turn in enumerate(wanted.messages, 1)]
            return [loaded.prompt_ids(turns)]
        return [self._ids(prompt, f"prompt {count}") for count, prompt in enumerate(wanted.prompts or [], 1)]

    def _ids(self, prompt: str | list[int], where: str) -> list[int]:
        if isinstance(prompt, str):
            self._assembled.check_length(len(prompt))
        ids = self._assembled.encoder.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        if not ids:
            raise UsageError(f"{where} is empty; it needs at least one token.")
        size = self._assembled.vocabulary
        if max(ids) >= size or min(ids) < 0:
            raise UsageError(f"{where} has a token id beyond the {size:,} of this model.")
        if len(ids) >= self._assembled.engine.context_length:
            raise PromptTooLong(len(ids), self._assembled.engine.context_length)
        return list(ids)

    def _prompt_logprobs(self, ids: list[int]) -> list[TokenLogprob]:
        engine = self._assembled.engine
        if not isinstance(engine, ComputesPromptLogprobs):
            raise UsageError("this engine cannot tell probabilities of a prompt; leave out echo or logprobs.")
        if self._cancelled:
            return []
        scored = engine.prompt_logprobs(ids, self._assembled.adapter, self._wanted.logprobs or 0)
        self._alive()
        return scored

    def _described(
        self, prompts: Sequence[list[int]], worth: Sequence[list[TokenLogprob]] | None
    ) -> list[dict[str, Any]]:
        known = [{"tokens": len(ids), **({"ids": list(ids)} if self._wanted.ids else {})} for ids in prompts]
        if not self._wanted.echo:
            return known
        given = self._wanted.prompts or []
        described: list[dict[str, Any]] = []
        for number, ids in enumerate(prompts):
            text = given[number] if isinstance(given[number], str) else self._text(ids)
            described.append({**known[number], "text": text})
            if worth is not None:
                first = self._shown([TokenLogprob(ids[0], 0.0)])[0]
                first[1] = None  # nothing stands before it
                described[-1]["scored"] = [first, *self._shown(worth[number][: len(ids) - 1])]
        return described

    def _generate(self, prompts: list[list[int]], worth: list[list[TokenLogprob]] | None) -> list[dict[str, Any]]:
        """Every row; where prompts were read for their probabilities, one greedy token each is known already."""
        wanted = self._wanted
        sampling = wanted.sampling
        plain = wanted.messages is None
        if worth is not None and plain and _is_one_greedy(sampling) and not self._cancelled:
            return self._one_each(prompts, [scored[-1] for scored in worth])
        many = [ids for ids in prompts for _ in range(wanted.count)]
        each = [
            sampling.model_copy(update={"seed": sampling.seed + number})
            for _ in prompts
            for number in range(wanted.count)
        ]
        rows: list[dict[str, Any]] = [{} for _ in many]
        with generate(self._assembled, many, each, plain=plain, logprobs=wanted.logprobs) as answers:
            self._begin(answers)
            kept: list[list[TokenLogprob]] = [[] for _ in many]
            for delta in answers:
                delta = replace(delta, logprobs=self._wanted_of(delta.logprobs))
                kept[delta.index] += delta.logprobs
                self._pass_on(delta)
                if delta.stats is not None:
                    rows[delta.index] = self._row(delta.answer, delta.stats, kept[delta.index], delta.ids)
        return rows

    def _wanted_of(self, scored: Sequence[TokenLogprob]) -> tuple[TokenLogprob, ...]:
        """The token that ended an answer is no part of it. Who wants the prompts' probabilities wants its too:
        evaluations cut the last one off and sum the rest."""
        return tuple(one for one in scored if self._wanted.echo or one.token not in self._assembled.stops)

    def _begin(self, answers: AnswerStream) -> None:
        with self._lock:
            self._answers = answers
            cancelled = self._cancelled
        if cancelled:
            self.cancel()

    def _pass_on(self, delta: Delta) -> None:
        if not self._wanted.stream:
            self._alive()
            return
        event: dict[str, Any] = {"event": "delta", "index": delta.index, "text": delta.text}
        if delta.logprobs:
            event["scored"] = self._shown(delta.logprobs)
        if self._wanted.ids:
            event["ids"] = delta.new_ids
        if delta.stats is not None:
            event["finish"] = delta.stats.finish
        self._tell(**event)

    def _alive(self) -> None:
        now = time.monotonic()
        if now - self._told > _ALIVE_SECONDS:
            self._told = now
            self._tell(event="alive")

    def _row(
        self, answer: str, stats: AnswerStats, scored: Sequence[TokenLogprob], ids: Sequence[int] = ()
    ) -> dict[str, Any]:
        row: dict[str, Any] = {"answer": answer, "facts": stats.as_json()}
        if self._wanted.ids:
            row["ids"] = ids
        if self._wanted.logprobs is not None:
            row["scored"] = self._shown(scored)
        return row

    def _one_each(self, prompts: Sequence[list[int]], chosen: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
        rows = []
        for index in range(self._rows):
            ids, scored = prompts[index // self._wanted.count], chosen[index // self._wanted.count]
            ends = scored.token in self._assembled.stops
            text = "" if ends else self._assembled.decode([scored.token])
            stats = AnswerStats("stop" if ends else "length", 0 if ends else 1, len(ids), 0.0, 0.0)
            said = () if ends else (scored.token,)
            self._pass_on(Delta(index, text, text, stats, (scored,), said, said))
            rows.append(self._row(text, stats, [scored], said))
        return rows

    def _nothing(self, prompts: Sequence[list[int]]) -> list[dict[str, Any]]:
        """No answers: an end of each row, for those who listen to a stream."""
        rows = []
        for index in range(self._rows):
            stats = AnswerStats("length", 0, len(prompts[index // self._wanted.count]), 0.0, 0.0)
            rows.append(self._row("", stats, []))
            if self._wanted.stream:
                self._pass_on(Delta(index, "", "", stats))
        return rows

    def _text(self, ids: Sequence[int]) -> str:
        return self._assembled.encoder.decode(ids)

    def _shown(self, scored: Sequence[TokenLogprob]) -> list[list[Any]]:
        named = (lambda token: f"token_id:{token}") if self._wanted.name_by_id else (lambda token: self._text([token]))
        return [[named(one.token), one.logprob, [[named(token), worth] for token, worth in one.top]] for one in scored]


def _is_one_greedy(sampling: Sampling) -> bool:
    unchanged = sampling.repetition_penalty == 1 and sampling.no_repeat_ngram_size == 0
    return sampling.max_new_tokens == 1 and sampling.temperature == 0 and unchanged
