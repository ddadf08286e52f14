"""An engine that answers at once, from the prompt alone: what is measured is everything around it."""

from __future__ import annotations

import os
import time

from camelid_core import hookimpl
from camelid_serve.engine import EngineKind, TokenEvent

CAMELID_API = 1
PAUSE = float(os.environ.get("STUB_SECONDS", "0.001"))


class StubStream:
    def __init__(self, requests):
        self._cancelled = set()
        self._events = self._make(requests)

    def _make(self, requests):
        for index, request in enumerate(requests):
            time.sleep(PAUSE)
            token = 10 + (sum(request.ids) + request.sampling.seed) % 200
            for _ in range(3):
                if index not in self._cancelled:
                    yield TokenEvent(index, token)
            yield TokenEvent(index, finish="cancelled" if index in self._cancelled else "stop")

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._events)

    def cancel(self, index):
        self._cancelled.add(index)

    def close(self):
        self._events = iter(())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class StubEngine:
    context_length = 4096
    adapters = ()

    def stream(self, requests):
        return StubStream(requests)

    def close(self):
        pass


def load(resolved, dtype, slots):
    return StubEngine()


@hookimpl
def camelid_engines():
    return [EngineKind("stub", "Answers at once.", f"{__name__}:load")]
