"""The contracts of engines and evaluations; an engine without a model, for tests and load measurements, and the process
that holds it.

    python -m camelid_serve.testing        # what `camelid_serve.engine_process.host` is, with stub engines

A model's name says how its engine behaves: `tokens=8,gap=0.01,first=0.1,hang=3` (see `Behaviour`).
Knows engines and how they fail. Not imported by the product.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from camelid_core.models.adapters import ModelAdapter
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.plugins import Host
from camelid_core.testing import tiny_tokenizer
from camelid_core.tokenization.encoder import Encoder

from .engine import Engine, FinishReason, PromptTooLong, Request, Sampling, TokenEvent
from .engine_contract import assert_engine_contract as assert_engine_contract
from .evaluation_contract import assert_evaluation_contract as assert_evaluation_contract
from .loaded_models import LoadedModel, LoadedModels


def prompts(count: int, shared: int = 0, seed: int = 0) -> list[list[int]]:
    """Random prompts of mixed lengths; the first `shared` tokens are common to all."""
    numbers = random.Random(seed)
    start = [numbers.randrange(5, 300) for _ in range(shared)]
    return [start + [numbers.randrange(5, 300) for _ in range(numbers.randrange(1, 30))] for _ in range(count)]


def collect(engine: Engine, requests: Sequence[Request]) -> tuple[list[list[int]], list[str | None]]:
    """Each request's tokens, and its finish reason."""
    tokens: list[list[int]] = [[] for _ in requests]
    finish_reasons: list[str | None] = [None for _ in requests]
    for event in engine.stream(requests):
        assert finish_reasons[event.index] is None, "an event came after the end"
        if event.token is not None:
            tokens[event.index].append(event.token)
        finish_reasons[event.index] = event.finish
    return tokens, finish_reasons


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Answers of `tokens` tokens, the first after `first` seconds, the others `gap` seconds apart; the engine hangs
    after `hang` tokens, its process dies after `die` tokens, and it raises an error after `fail`; 0 is never."""

    tokens: int = 8
    gap: float = 0.0
    first: float = 0.0
    hang: int = 0
    die: int = 0
    fail: int = 0

    @classmethod
    def parse(cls, text: str) -> Behaviour:
        pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
        values: dict[str, Any] = {key: (float if key in ("gap", "first") else int)(value) for key, _, value in pairs}
        return cls(**values)


class StubEngine:
    """Repeats the prompt's tokens; each adapter has a behaviour of its own."""

    context_length = 4096
    adapters: tuple[str, ...] = ()

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviours: dict[str | None, Behaviour] = {None: behaviour}

    def stream(self, requests: Sequence[Request]) -> StubStream:
        for request in requests:
            if len(request.ids) >= self.context_length:
                raise PromptTooLong(len(request.ids), self.context_length)
        return StubStream(requests, self.behaviours[requests[0].adapter])

    def close(self) -> None: ...


class StubStream:
    """The events of its rows alternate, timed as if the rows ran in one batch."""

    def __init__(self, requests: Sequence[Request], behaviour: Behaviour) -> None:
        self._requests = requests
        self._behaviour = behaviour
        self._cancelled: set[int] = set()
        self._wake = threading.Event()
        self._events = self._run()

    def __iter__(self) -> Iterator[TokenEvent]:
        return self

    def __next__(self) -> TokenEvent:
        return next(self._events)

    def cancel(self, index: int) -> None:
        self._cancelled.add(index)
        if len(self._cancelled) == len(self._requests):
            self._wake.set()

    def close(self) -> None:
        for index in range(len(self._requests)):
            self.cancel(index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> Iterator[TokenEvent]:
        behaviour = self._behaviour
        started = time.monotonic()
        running = list(range(len(self._requests)))
        count = 0
        while running:
            self._wait(started + behaviour.first + count * behaviour.gap)
            self._misbehave(count)
            for index in tuple(running):
                event = self._event(index, count)
                if event.finish:
                    running.remove(index)
                yield event
            count += 1

    def _event(self, index: int, count: int) -> TokenEvent:
        if index in self._cancelled:
            return TokenEvent(index, None, "cancelled")
        request = self._requests[index]
        limit = request.sampling.max_new_tokens
        if count == self._behaviour.tokens:
            return TokenEvent(index, None, "stop")
        finish: FinishReason | None = "length" if count + 1 == limit else None
        return TokenEvent(index, request.ids[count % len(request.ids)], finish)

    def _wait(self, until: float) -> None:
        left = until - time.monotonic()
        if left > 0:
            self._wake.wait(left)

    def _misbehave(self, count: int) -> None:
        if count and count == self._behaviour.die:
            os.kill(os.getpid(), signal.SIGKILL)
        if count and count == self._behaviour.fail:
            raise RuntimeError("0xdeadbeef is out of memory")
        if count and count == self._behaviour.hang:
            threading.Event().wait()


class StubModels(LoadedModels):
    """Holds stubs. A name that begins with `broken` cannot be loaded; one that ends in a directory, as adapters do,
    behaves as that directory's name says."""

    def load(self, names: Mapping[str, str], host: Host, *_: Any) -> None:
        self.models = {}
        self.models = {label: _stub(name, host) for label, name in names.items()}

    def add(self, label: str, name: str, host: Host, *_: Any) -> None:
        added, first = _stub(name, host), next(iter(self.models.values()))
        first.engine.behaviours[label] = added.engine.behaviours[None]  # type: ignore[attr-defined]
        self.models = {**self.models, label: replace(first, adapter=label, resolved=added.resolved)}


def _stub(name: str, host: Host) -> LoadedModel:
    from camelid_core.errors import ModelError

    behaviour = name.rpartition("/")[2]
    if behaviour.startswith("broken"):
        raise ModelError(f"{name!r} cannot be loaded.")
    encoder = Encoder(tiny_tokenizer(), host.templates["chatml"])
    engine: Engine = StubEngine(Behaviour.parse(behaviour))
    resolved = ResolvedModel(name, Path(), ModelAdapter("stub", "Stub", (), encoder.template.name), {}, "stub")
    return LoadedModel(engine, encoder, encoder.template, resolved, None, frozenset(), (), Sampling())


if __name__ == "__main__":
    from .engine_process.host import main

    main(StubModels())
