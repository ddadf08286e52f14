"""The outbox: ends of jobs that are still to be announced, in the job database.

A trigger of the database writes the end of a job down in the transaction that ends it, so that no end is missed,
whoever records it and whoever dies next. Each target is tried until it has answered or the tries are used up: a message
can come twice, and never goes missing unsaid. Knows rows and times. Knows nothing of what is sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from camelid_core.jobs.job import ENDED
from camelid_core.jobs.store import JobStore

from .notification_settings import Webhook

WAITS = (10.0, 60.0, 600.0, 3600.0)
"""Seconds between tries: five in all."""
_SENDING_SECONDS = 60.0
"""A try that has not reported after so long died with its process."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message to a target that is tried now, for the `tries`-th time."""

    job: int
    epoch: int
    webhook: Webhook
    tries: int

    @property
    def is_last(self) -> bool:
        return self.tries > len(WAITS)


def tell_also(store: JobStore, job_id: int, webhook: Webhook) -> None:
    """Tell this webhook, too, when the job has ended; at once if it has.

    Raises:
        UsageError: the URL is not opened.
        JobError: there is no such job.
    """
    webhook.check()
    job = store.get(job_id)
    with store.database.write() as db:
        db.execute(
            "INSERT OR REPLACE INTO job_listener VALUES (?, ?, ?)", (job_id, webhook.url, int(webhook.own_network))
        )
        if job.state in ENDED:
            db.execute("INSERT OR IGNORE INTO job_end (job, epoch) VALUES (?, ?)", (job_id, job.epoch))


def take_due(store: JobStore, webhooks: Collection[Webhook], only: int | None = None) -> list[Delivery]:
    """The deliveries that are to be tried now; `webhooks` are told of every end. Nobody else is given them for a
    minute."""
    now = store.clock.wall()
    with store.database.read() as db:  # most often nothing is there, and the write lock is not needed
        if db.execute("SELECT 1 FROM job_end WHERE due <= ?", (now,)).fetchone() is None:
            return []
    with store.database.write() as db:
        for end in db.execute("SELECT job, epoch FROM job_end WHERE url = ''").fetchall():
            own = db.execute("SELECT url, own_network FROM job_listener WHERE job = ?", (end["job"],)).fetchall()
            told = {each.url: each.own_network for each in webhooks} | {row["url"]: row["own_network"] for row in own}
            db.executemany(
                "INSERT OR IGNORE INTO job_end (job, epoch, url, own_network) VALUES (?, ?, ?, ?)",
                [(end["job"], end["epoch"], url, int(allowed)) for url, allowed in told.items()],
            )
            db.execute("DELETE FROM job_end WHERE job = ? AND epoch = ? AND url = ''", (end["job"], end["epoch"]))
        rows = db.execute(
            "UPDATE job_end SET tries = tries + 1, due = :later WHERE due <= :now AND (:job IS NULL OR job = :job) "
            "RETURNING job, epoch, url, own_network, tries",
            {"now": now, "later": now + _SENDING_SECONDS, "job": only},
        ).fetchall()
    return [
        Delivery(row["job"], row["epoch"], Webhook(url=row["url"], own_network=bool(row["own_network"])), row["tries"])
        for row in sorted(rows, key=lambda row: (row["job"], row["epoch"], row["url"]))
    ]


def settle(store: JobStore, delivery: Delivery, done: bool) -> None:
    """It was delivered, or will never be; else it is tried again later."""
    end = (delivery.job, delivery.epoch, delivery.webhook.url)
    with store.database.write() as db:
        if done or delivery.is_last:
            db.execute("DELETE FROM job_end WHERE job = ? AND epoch = ? AND url = ?", end)
        else:
            due = store.clock.wall() + WAITS[delivery.tries - 1]
            db.execute("UPDATE job_end SET due = ? WHERE job = ? AND epoch = ? AND url = ?", (due, *end))


def listeners(store: JobStore, job_id: int) -> Sequence[Webhook]:
    """The webhooks that are told of this job alone."""
    with store.database.read() as db:
        rows = db.execute("SELECT url, own_network FROM job_listener WHERE job = ? ORDER BY url", (job_id,)).fetchall()
    return [Webhook(url=row["url"], own_network=bool(row["own_network"])) for row in rows]
