"""The engine process: it holds the models, takes requests on stdin and sends events on stdout.

    python -m camelid_serve.engine_process.host

Knows the resident models and the requests on them. Knows nothing of its clients; it ends when stdin ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Protocol, TextIO

from camelid_core.config import validate
from camelid_core.errors import ModelError, UsageError
from camelid_core.models.template_choice import template_of
from camelid_core.models.weight_reading import WeightsRead, weights_listener
from camelid_core.plugins import load_host
from camelid_core.readers import parse_message

from camelid_serve.engine import Report, check_streams
from camelid_serve.generation import continuation_ids, generate
from camelid_serve.loaded_models import LoadedModel, LoadedModels

from .completion_request import CompletionRun
from .messages import (
    AddCommand,
    ChatCommand,
    CompleteCommand,
    LoadCommand,
    LoadedModelInfo,
    RemoveCommand,
    error_message,
)

_THREADS = 4096
"""Most requests at once; clients limit them well below."""


class _Cancellable(Protocol):
    """A running request, which can be ended with the tokens generated so far."""

    def cancel(self) -> None: ...


class EngineHost:
    """Runs requests, each in a thread of its own, all on the models in `loaded_models`."""

    def __init__(self, out: TextIO, loaded_models: LoadedModels) -> None:
        self._loaded_models = loaded_models
        self._out = out
        self._threads = ThreadPoolExecutor(_THREADS, "request")  # kept: to start one takes as long as a short answer
        self._long_prompts = ThreadPoolExecutor(1, "long prompts")  # one, as encoding keeps its memory per thread
        self._write_lock = threading.Lock()
        self._load_lock = threading.Lock()
        self._lock = threading.Lock()
        self._running: dict[int, _Cancellable | None] = {}
        self._cancelled: set[int] = set()

    def handle(self, request: dict[str, Any]) -> None:
        """Start a request and return."""
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
        with self._lock:
            self._running[number] = None
        self._threads.submit(self._run, action, number, request)

    def _run(self, action: Any, number: int, request: dict[str, Any]) -> None:
        try:
            action(number, request)
        except BaseException as error:
            self._emit(number, **error_message(error))
        finally:
            with self._lock:
                self._running.pop(number, None)
                self._cancelled.discard(number)

    def _load(self, number: int, values: dict[str, Any]) -> None:
        command = validate(LoadCommand, values, "the request")
        with self._load_lock, self._progress(number) as report:
            self._loaded_models.load(command.models, load_host(), command.how, report)
            self._emit_loaded(number)

    def _add(self, number: int, values: dict[str, Any]) -> None:
        command = validate(AddCommand, values, "the request")
        with self._load_lock, self._progress(number) as report:
            self._loaded_models.add(command.label, command.model, load_host(), command.template, command.share, report)
            self._emit_loaded(number)

    def _remove(self, number: int, values: dict[str, Any]) -> None:
        command = validate(RemoveCommand, values, "the request")
        with self._load_lock:
            self._loaded_models.remove(command.label, command.share)
            self._emit_loaded(number)

    @contextmanager
    def _progress(self, number: int) -> Iterator[Report]:
        """Sends each step as an event, and with it how far the weights are read."""
        step = ""

        def report(text: str) -> None:
            nonlocal step
            step = text
            self._emit(number, event="progress", text=step)

        def read(weights: WeightsRead) -> None:
            self._emit(number, event="progress", text=step, **asdict(weights))

        with weights_listener(read):
            yield report

    def _emit_loaded(self, number: int) -> None:
        loaded = {
            label: _model_info(each).model_dump(mode="json") for label, each in self._loaded_models.models.items()
        }
        self._emit(number, event="loaded", loaded=loaded)

    def _chat(self, number: int, values: dict[str, Any]) -> None:
        command = validate(ChatCommand, values, "the request")
        loaded = self._model(command.model)
        if command.template:
            loaded = loaded.with_template(template_of(loaded.resolved, load_host(), command.template))
        else:
            loaded = loaded.side(command.tuned)
        messages = [parse_message(turn, f"message {count}") for count, turn in enumerate(command.messages, 1)]
        sampling = command.sampling or loaded.sampling
        check_streams(sampling)
        ids, prefix = continuation_ids(loaded, messages, command.begun)
        with generate(loaded, [ids], sampling, command.tuned, prefix_ids=[prefix]) as answers:
            self._register(number, answers)
            for delta in answers:
                if delta.text:
                    self._emit(number, event="delta", text=delta.text)
                if delta.stats is not None:
                    facts = delta.stats.as_json()
                    self._emit(number, event="done", answer=delta.answer, facts=facts, ids=delta.ids)

    def _complete(self, number: int, values: dict[str, Any]) -> None:
        command = validate(CompleteCommand, values, "the request")
        completion = CompletionRun(
            self._model(command.model), command, lambda **event: self._emit(number, **event), self._long_prompts
        )
        self._register(number, completion)
        completion.run()

    def _model(self, label: str) -> LoadedModel:
        """The model of that label; the first one without a label."""
        models = self._loaded_models.models
        if not models:
            raise ModelError("no model is loaded; load one first.")
        if label and label not in models:
            raise ModelError(f"model {label!r} is not loaded.")
        return models[label or next(iter(models))]

    def _register(self, number: int, running: _Cancellable) -> None:
        """From here on the request can be cancelled; if it was already, it is now."""
        with self._lock:
            self._running[number] = running
            if number in self._cancelled:
                running.cancel()

    def _cancel(self, number: int) -> None:
        with self._lock:
            running = self._running.get(number)
            if running is not None:
                running.cancel()
            elif number in self._running:
                self._cancelled.add(number)

    def _emit(self, number: int, **event: Any) -> None:
        line = json.dumps({"id": number, **event}, ensure_ascii=True)
        with self._write_lock:
            self._out.write(line + "\n")
            self._out.flush()


def _model_info(loaded: LoadedModel) -> LoadedModelInfo:
    resolved = loaded.resolved
    return LoadedModelInfo(
        model=resolved.name,
        base=resolved.base_id,
        has_adapter=loaded.adapter is not None,
        template=loaded.template.name,
        own_template=resolved.template,
        context_length=loaded.engine.context_length,
        licence=resolved.licence,
        sampling=loaded.sampling,
    )


def main(loaded_models: LoadedModels | None = None) -> None:
    """Serve until stdin ends. What libraries print goes to stderr: stdout is the pipe."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    host = EngineHost(out, loaded_models or LoadedModels())
    for line in sys.stdin:
        try:
            host.handle(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            sys.stderr.write(f"{UsageError(f'not a request: {error!r}')}\n")
    os._exit(0)  # at once, whatever is being computed: no client reads the events any more


if __name__ == "__main__":
    main()
