"""The process that holds the model for somebody else: requests on stdin, events on stdout.

    python -m camelid_serve.engine_process.host

Knows the resident models and the requests on them. Knows nothing of who asks; when stdin ends, so does it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TextIO

from camelid_core.config import validate
from camelid_core.errors import ModelError, UsageError
from camelid_core.plugins import load_host
from camelid_core.readers import message

from camelid_serve.generation import continuation_ids, generate
from camelid_serve.loaded_models import LoadedModel, LoadedModels

from .completion_request import Completion
from .messages import Add, Chat, Complete, Load, Loaded, Remove, error_message

_THREADS = 4096
"""Requests at once; those who ask bound them well below."""


class _Running(Protocol):
    """What can be told to end with what is there."""

    def cancel(self) -> None: ...


class EngineHost:
    """Answers requests, each in a thread of its own, all on what `residents` holds."""

    def __init__(self, out: TextIO, residents: LoadedModels) -> None:
        self._residents = residents
        self._out = out
        self._threads = ThreadPoolExecutor(_THREADS, "request")  # kept: to start one takes as long as a short answer
        self._writing = threading.Lock()
        self._loading = threading.Lock()
        self._state = threading.Lock()
        self._running: dict[int, _Running | None] = {}
        self._cancelled: set[int] = set()

    def handle(self, request: dict[str, Any]) -> None:
        """Start on one request and return."""
        number = int(request.pop("id"))
        operation = request.pop("op")
        if operation == "cancel":
            self._cancel(number)
            return
        action = {
            "load": self._load,
            "add": self._add,
            "remove": self._remove,
            "chat": self._chat,
            "complete": self._complete,
        }[operation]
        with self._state:
            self._running[number] = None
        self._threads.submit(self._guard, action, number, request)

    def _guard(self, action: Any, number: int, request: dict[str, Any]) -> None:
        try:
            action(number, request)
        except BaseException as error:
            self._tell(number, **error_message(error))
        finally:
            with self._state:
                self._running.pop(number, None)
                self._cancelled.discard(number)

    def _load(self, number: int, values: dict[str, Any]) -> None:
        wanted = validate(Load, values, "the request")
        with self._loading:
            self._residents.load(wanted.models, load_host(), wanted.how, self._progress(number))
            self._tell_loaded(number)

    def _add(self, number: int, values: dict[str, Any]) -> None:
        wanted = validate(Add, values, "the request")
        with self._loading:
            report = self._progress(number)
            self._residents.add(wanted.label, wanted.model, load_host(), wanted.template, wanted.share, report)
            self._tell_loaded(number)

    def _remove(self, number: int, values: dict[str, Any]) -> None:
        wanted = validate(Remove, values, "the request")
        with self._loading:
            self._residents.remove(wanted.label, wanted.share)
            self._tell_loaded(number)

    def _progress(self, number: int) -> Callable[[str], None]:
        return lambda text: self._tell(number, event="progress", text=text)

    def _tell_loaded(self, number: int) -> None:
        loaded = {label: _facts(each).model_dump(mode="json") for label, each in self._residents.models.items()}
        self._tell(number, event="loaded", loaded=loaded)

    def _chat(self, number: int, values: dict[str, Any]) -> None:
        wanted = validate(Chat, values, "the request")
        loaded = self._model(wanted.model)
        if wanted.template:
            loaded = loaded.with_template(load_host().templates[wanted.template])
        messages = [message(turn, f"message {count}") for count, turn in enumerate(wanted.messages, 1)]
        ids, prefix = continuation_ids(loaded, messages, wanted.begun)
        with generate(loaded, [ids], wanted.sampling or loaded.sampling, wanted.tuned, prefix_ids=[prefix]) as answers:
            self._begin(number, answers)
            for delta in answers:
                if delta.text:
                    self._tell(number, event="delta", text=delta.text)
                if delta.stats is not None:
                    stats = delta.stats.as_json()
                    self._tell(number, event="done", answer=delta.answer, stats=stats, ids=delta.ids)

    def _complete(self, number: int, values: dict[str, Any]) -> None:
        wanted = validate(Complete, values, "the request")
        completion = Completion(self._model(wanted.model), wanted, lambda **event: self._tell(number, **event))
        self._begin(number, completion)
        completion.run()

    def _model(self, label: str) -> LoadedModel:
        """The model of that label; the first for none."""
        models = self._residents.models
        if not models:
            raise ModelError("no model is loaded; load one first.")
        if label and label not in models:
            raise ModelError(f"model {label!r} is not loaded.")
        return models[label or next(iter(models))]

    def _begin(self, number: int, running: _Running) -> None:
        """From here on the request can be cancelled; perhaps it was already."""
        with self._state:
            self._running[number] = running
            if number in self._cancelled:
                running.cancel()

    def _cancel(self, number: int) -> None:
        with self._state:
            running = self._running.get(number)
            if running is not None:
                running.cancel()
            elif number in self._running:
                self._cancelled.add(number)

    def _tell(self, number: int, **event: Any) -> None:
        line = json.dumps({"id": number, **event}, ensure_ascii=True)
        with self._writing:
            self._out.write(line + "\n")
            self._out.flush()


def _facts(loaded: LoadedModel) -> Loaded:
    reference = loaded.reference
    return Loaded(
        model=reference.name,
        base=reference.base_id,
        has_adapter=loaded.adapter is not None,
        template=loaded.template.name,
        own_template=reference.template,
        context_length=loaded.engine.context_length,
        licence=reference.licence,
        sampling=loaded.sampling,
    )


def main(residents: LoadedModels | None = None) -> None:
    """Serve until stdin ends. What libraries print goes to stderr: stdout is the pipe's."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    host = EngineHost(out, residents or LoadedModels())
    for line in sys.stdin:
        try:
            host.handle(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            sys.stderr.write(f"{UsageError(f'not a request: {error!r}')}\n")
    os._exit(0)  # at once, whatever is being computed: nobody listens any more


if __name__ == "__main__":
    main()
