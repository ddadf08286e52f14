"""`--notify`: who is told of the end of the one job that a command starts.

Knows the option. Everything else is `camelid_core.notifications`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import typer

from camelid_core.errors import UsageError
from camelid_core.jobs.job import Job
from camelid_core.jobs.store import JobStore
from camelid_core.notifications.delivery import announce
from camelid_core.notifications.desktop import check_desktop, notify_desktop
from camelid_core.notifications.notification_settings import Webhook
from camelid_core.notifications.outbox import tell_also

Notify = Annotated[
    list[str] | None,
    typer.Option(help="When the run has ended tell a webhook (https://…), or `desktop`; may be repeated."),
]
_DESKTOP = "desktop"


@dataclass(frozen=True, slots=True)
class EndListeners:
    """Who is told of the end of one job, beside the webhooks that are told of every end."""

    webhooks: Sequence[Webhook] = ()
    desktop: bool = False

    @classmethod
    def parse(cls, given: Sequence[str] | None, detached: bool = False) -> Self:
        """Raises UsageError: a URL is not opened, or nobody would be there to show it on the desktop."""
        webhooks = [Webhook(url=text) for text in given or () if text != _DESKTOP]
        for webhook in webhooks:
            webhook.check()
        desktop = _DESKTOP in (given or ())
        if desktop and detached:
            raise UsageError("--notify desktop needs this command to stay; `camelid jobs wait ID --desktop` does that.")
        if desktop:
            check_desktop()
        return cls(tuple(webhooks), desktop)

    def queued(self, store: JobStore, job: Job) -> None:
        for webhook in self.webhooks:
            tell_also(store, job.id, webhook)

    def ended(self, store: JobStore, job: Job) -> None:
        announce(store, job.id)
        if self.desktop:
            notify_desktop("Camelid", f"{job.label}: {job.state}")


NOBODY = EndListeners()
