"""Delivering what is in the outbox, from a thread beside all work: no job waits for it, and none fails by it.

Knows the outbox, webhooks and the events of an attempt. Knows nothing of what the message says.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import threading
from types import TracebackType
from typing import Self

from camelid_core.datasets.url_policy import post
from camelid_core.errors import CamelidError, DataError
from camelid_core.events import EventLog
from camelid_core.jobs.job import Job
from camelid_core.jobs.run_directories import EVENTS, attempt_directory
from camelid_core.jobs.store import JobStore

from .message import message_of
from .notification_settings import NOTIFICATIONS, NotificationSettings, Webhook
from .outbox import Delivery, settle, take_due

_POLL_SECONDS = 2.0
_WORTH_A_RETRY = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses by which a server says that it may answer otherwise later."""


def deliver_due(store: JobStore, only: int | None = None) -> int:
    """Try every delivery that is due, or those of the job `only`; how many were tried.

    Raises:
        ConfigError: the settings are damaged.
        JobError: the table cannot be written.
    """
    settings = NOTIFICATIONS.load()
    due = take_due(store, settings.webhooks, only)
    for delivery in due:
        try:
            job = store.get(delivery.job)
        except CamelidError:  # it was deleted meanwhile
            settle(store, delivery, done=True)
            continue
        problem, again = send(delivery.webhook, job, store, settings)
        settle(store, delivery, done=not (problem and again))
        _note(store, delivery, problem, again)
    return len(due)


def announce(store: JobStore, only: int | None = None) -> None:
    """As `deliver_due`, for commands: what goes wrong is said and fails nothing."""
    try:
        deliver_due(store, only)
    except CamelidError as error:
        sys.stderr.write(f"notifications: {error}\n")


def send(webhook: Webhook, job: Job, store: JobStore, settings: NotificationSettings) -> tuple[str, bool]:
    """What went wrong, empty for nothing, and whether it may go better later."""
    body = json.dumps(message_of(job, store.path.parent, settings.page), ensure_ascii=False).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "camelid",
        "X-Camelid-Delivery": f"{job.id}-{job.epoch}",
    }
    if secret := settings.secret.get_secret_value():
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers["X-Camelid-Signature"] = f"sha256={signature}"
    try:
        status = post(webhook.url, body, headers, webhook.policy)
    except CamelidError as error:
        return str(error), isinstance(error, DataError) and error.kind == "no_connection"
    if 200 <= status < 300:
        return "", False
    if 300 <= status < 400:
        return f"it answers {status}, a redirect, which is not followed", False
    return f"it answers {status}", status in _WORTH_A_RETRY


class Notifier:
    """While entered, ends of jobs are announced; `store` may be used by others meanwhile."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._said = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()  # a request that is under way is left to itself: the outbox still has it

    def _run(self) -> None:
        while not self._stopped.wait(_POLL_SECONDS):
            try:
                deliver_due(self._store)
            except CamelidError as error:
                self._say(str(error))

    def _say(self, problem: str) -> None:
        """Each problem once, not at every look."""
        if problem != self._said:
            sys.stderr.write(f"notifications: {problem}\n")
            self._said = problem


def _note(store: JobStore, delivery: Delivery, problem: str, again: bool) -> None:
    """In the events of the attempt, which has ended: nobody else writes there."""
    directory = attempt_directory(store.path.parent, delivery.job, delivery.epoch)
    if not directory.is_dir():
        return
    will = "" if not problem else "tried again" if again and not delivery.is_last else "given up"
    log = EventLog(directory / EVENTS)
    try:
        log.emit("notification", to=delivery.webhook.shown, tries=delivery.tries, problem=problem, then=will)
    finally:
        log.close()
