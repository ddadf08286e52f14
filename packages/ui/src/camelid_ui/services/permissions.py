"""Permissions: which methods of the services an access profile allows. Each is listed as reading or as changing.

Knows every service's methods by name, and denies by default: a method that is not listed is refused wherever changes
are. The service itself refuses, whoever calls it.
"""

from __future__ import annotations

import functools
import inspect
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from camelid_core.datasets.dataset import Source

from camelid_ui.access_profile import NotPermitted, Profile

from .chat import PageLeft

if TYPE_CHECKING:
    from . import Services

READ_METHODS = {
    "jobs": "all show count_running view views queue ended_since tasks related nodes files events attempt log log_part",
    "groups": "all",
    "machines": "all",
    "data.collection": "all show names sources records page rows record",
    "data.add": "running name_for",
    "data.fetch": "running",
    "data.lengths": "sample known counting",
    "data.lints": "sample known checking writing",
    "data.mix": "plan tags command saving",
    "data.cache": "all size",
    "models": "names grouped base_of adapters templates template encoder tokens",
    "training": "estimate command model_choice data_choices section_choices all show recipe_of compare bundle",
    "chat": "stop leave answering has_loaded resident context_length sampling",
    "predictions": "command all summary page lines",
    "merge": "adapters estimate command all",
    "exports": "sources offers command all load_line can_follow proof",
    "plugins": "all problems left_out",
    "history": "markdown records",
}
"""Always allowed: they read what is listed, and compute little."""

CHANGING_METHODS = {
    "jobs": "submit cancel pause finish move retry",
    "data.collection": "remove",
    "data.add": "find detect preview start add",
    "data.fetch": "start",
    "data.lengths": "count forget",
    "data.lints": "check write",
    "data.mix": "save",
    "data.cache": "prune",
    "training": "start delete",
    "predictions": "preview keep_upload start",
    "merge": "start",
    "exports": "start prove publication publish",
    "plugins": "settings stored overridden save",
    "feedback": "rate",
    "history": "read",
}
"""Refused where changes are not allowed: they write, queue or compute much, or read a file by its path."""

LIMITED_METHODS = {
    "data.collection": "find dataset version facts",
    "models": "all bases resolve prompt count_tokens",
    "training": "check",
    "chat": "load ask",
}
"""Allowed for what the profile lists, and within its limits."""

SERVER_METHODS = {"chat": "close"}
"""For the server: no page calls them."""

_POLL_SECONDS = 0.1
"""A waiting request checks this often whether it was cancelled."""

NOT_SERVICES = ("home", "host", "profile")
"""Fields of `Services` that are no services."""


def service_paths(part: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every service by its path: `jobs`, `data.collection`, …"""
    for field in fields(part):
        if prefix or field.name not in NOT_SERVICES:
            service = getattr(part, field.name)
            if is_dataclass(service):
                yield from service_paths(service, f"{prefix}{field.name}.")
            else:
                yield prefix + field.name, service


def methods(service: Any) -> list[str]:
    """Its public methods."""
    found = inspect.getmembers_static(type(service), lambda member: inspect.isroutine(member))
    return [name for name, _ in found if not name.startswith("_")]


def methods_in(table: Mapping[str, str], path: str) -> frozenset[str]:
    return frozenset(table.get(path, "").split())


def enforce(services: Services, profile: Profile) -> None:
    """Replace the methods that `profile` refuses or limits, in the services themselves."""
    if profile.allow_changes:
        return
    services.jobs.wake = lambda: None  # no worker runs where nothing may be queued
    for path, service in service_paths(services):
        limited = _LIMITS[path](services, profile) if path in _LIMITS else {}
        open_ = methods_in(READ_METHODS, path) | methods_in(SERVER_METHODS, path) | limited.keys()
        for name in methods(service):
            if name not in open_:
                setattr(service, name, _refuse_changes(getattr(service, name), profile))
        for name, method in limited.items():
            setattr(service, name, functools.wraps(getattr(service, name))(method))


def _refuse_changes(method: Callable[..., Any], profile: Profile) -> Callable[..., Any]:
    @functools.wraps(method)
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotPermitted(
            f"these pages run as a {profile.name}, and nothing on their machine can be changed; "
            "`camelid ui` on a machine of your own does this."
        )

    return refuse


def _models(services: Services, profile: Profile) -> dict[str, Callable[..., Any]]:
    models, allowed = services.models, profile.models
    every, bases, resolve, prompt, count = models.all, models.bases, models.resolve, models.prompt, models.count_tokens

    def only(name: str, gguf: bool = True) -> Any:
        if allowed is not None and name not in allowed:
            raise NotPermitted(f"{name!r} is not one of this {profile.name}'s models; choose {' or '.join(allowed)}.")
        return resolve(name, gguf)

    def bounded(name: str, messages: Any, template: str = "") -> Any:
        _check_length(messages, profile)
        return prompt(name, messages, template)

    def counted(name: str, messages: Any, most: int) -> int:
        _check_length(messages, profile)
        return count(name, messages, most)

    return {
        "all": lambda: [entry for entry in every() if allowed is None or entry.name in allowed],
        "bases": lambda: [name for name in bases() if allowed is None or name in allowed],
        "resolve": only,
        "prompt": bounded,
        "count_tokens": counted,
    }


def _collection(services: Services, profile: Profile) -> dict[str, Callable[..., Any]]:
    collection = services.data.collection

    def named(method: Callable[..., Any]) -> Callable[..., Any]:
        def only(name: str) -> Any:
            _check_datasets(services, profile, [name])
            return method(name)

        return only

    return {name: named(getattr(collection, name)) for name in ("find", "dataset", "version", "facts")}


def _training(services: Services, profile: Profile) -> dict[str, Callable[..., Any]]:
    check = services.training.check

    def only(recipe: Any) -> None:
        parts = [part.strip() for text in recipe.data.sources for part in text.split("+")]
        _check_datasets(services, profile, [Source.parse(part).name for part in parts])
        check(recipe)

    return {"check": only}


def _chat(services: Services, profile: Profile) -> dict[str, Callable[..., Any]]:
    chat, queue = services.chat, _AnswerQueue(profile)
    load, ask = chat.load, chat.ask

    def unless_busy(model: str, *more: Any, **named: Any) -> None:
        if queue.busy and model != chat.status.model:
            raise NotPermitted("others are being answered by the model that is loaded; try again in a moment.")
        load(model, *more, **named)

    def bounded(session: str, requests: Any, sampling: Any, *more: Any, **named: Any) -> Iterator[Any]:
        for request in requests:
            _check_length(request.messages, profile)
            if request.partial_answer is not None and len(request.partial_answer.ids) > (
                profile.max_prompt_characters or math.inf
            ):
                raise NotPermitted(f"this {profile.name} does not continue an answer of that length; begin a new one.")
        most = min(sampling.max_new_tokens, profile.max_new_tokens or sampling.max_new_tokens)
        yield from ask(session, requests, sampling.model_copy(update={"max_new_tokens": most}), *more, **named)

    chat.wait_for_turn = queue.turn
    return {"load": unless_busy, "ask": bounded}


_LIMITS: Mapping[str, Callable[[Services, Profile], dict[str, Callable[..., Any]]]] = {
    "models": _models, "data.collection": _collection, "training": _training, "chat": _chat,
}  # fmt: skip


def _check_datasets(services: Services, profile: Profile, names: Iterable[str]) -> None:
    """Raises NotPermitted: a dataset must be given by its name, never a file by its path."""
    known = {name for entry in services.data.collection.all() for name in (entry.name, entry.source)}
    for name in names:
        if name not in known:
            raise NotPermitted(
                f"{name!r} is not a dataset of this {profile.name}; choose one that the Data page lists."
            )


def _check_length(messages: Any, profile: Profile) -> None:
    length = sum(len(message.content) + len(message.context) for message in messages)
    if profile.max_prompt_characters is not None and length > profile.max_prompt_characters:
        raise NotPermitted(
            f"this conversation has {length:,} characters, and this {profile.name} answers up to "
            f"{profile.max_prompt_characters:,}; begin a new one."
        )


class _AnswerQueue:
    """A bounded queue: requests that are answered and that wait; any more are refused at once."""

    def __init__(self, profile: Profile) -> None:
        self._concurrent = profile.concurrent_answers or 1
        self._capacity = self._concurrent + profile.waiting_answers
        self._requests = 0
        self._turn = threading.Semaphore(self._concurrent)
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        return self._requests > 0

    @contextmanager
    def turn(self, gone: Callable[[], bool]) -> Iterator[None]:
        """Raises PageLeft: the request was cancelled."""
        with self._lock:
            if self._requests >= self._capacity:
                raise NotPermitted(f"{self._requests} conversations are being answered or wait; try again in a minute.")
            self._requests += 1
        try:
            while not self._turn.acquire(timeout=_POLL_SECONDS):
                if gone():
                    raise PageLeft
            try:
                yield
            finally:
                self._turn.release()
        finally:
            with self._lock:
                self._requests -= 1
