"""`camelid jobs notify`: who is told when jobs have ended.

Knows how that looks as text. Everything else is `camelid_core.notifications`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from camelid_core.errors import JobError
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import Job, JobState
from camelid_core.notifications.delivery import send
from camelid_core.notifications.notification_settings import (
    NOTIFICATIONS,
    Webhook,
    add_webhook,
    remove_webhook,
)
from camelid_core.notifications.outbox import listeners, tell_also

from .job_access import AsJson
from .output import print_rows

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

_OwnNetwork = Annotated[
    bool, typer.Option("--own-network", help="Also http, and addresses of this machine and its network.")
]


@app.callback()
def _notify() -> None:
    """Who is told when jobs have ended: webhooks, which are sent a few words as JSON."""


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="https://…, as a chat program gives it for incoming webhooks.")],
    job: Annotated[int | None, typer.Option(min=1, help="Only of this job; without it, of every job.")] = None,
    own_network: _OwnNetwork = False,
) -> None:
    """Tell a webhook when jobs have succeeded, failed or paused."""
    webhook = Webhook(url=url, own_network=own_network)
    if job is None:
        add_webhook(webhook)
    else:
        tell_also(open_store(), job, webhook)
    typer.echo(f"{webhook.shown} is told of {'every job' if job is None else f'job {job}'} from now on.")


@app.command("list")
def list_webhooks(
    job: Annotated[int | None, typer.Option(min=1, help="Those told of this job alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Webhooks that are told. Their paths are not shown, for they often hold a key."""
    found = NOTIFICATIONS.load().webhooks if job is None else listeners(open_store(), job)
    rows = [
        {"number": number, "url": each.shown, "own_network": each.own_network} for number, each in enumerate(found, 1)
    ]
    print_rows(rows, as_json, empty="Nobody is told; `camelid jobs notify add URL` adds a webhook.")


@app.command()
def remove(number: Annotated[int, typer.Argument(help="Its number in the list.", min=1)]) -> None:
    """Tell a webhook no more."""
    typer.echo(f"{remove_webhook(number).shown} is told no more.")


@app.command()
def secret(
    clear: Annotated[bool, typer.Option("--clear", help="Sign no more.")] = False,
) -> None:
    """Ask for a key with which messages are signed (HMAC-SHA256 of the body, in X-Camelid-Signature)."""
    if clear:
        NOTIFICATIONS.save({}, unset=["secret"])
    else:
        NOTIFICATIONS.save({"secret": typer.prompt("Key", hide_input=True)})
    typer.echo("Messages are not signed." if clear else "Messages are signed from now on.")


@app.command()
def page(
    url: Annotated[str, typer.Argument(help="As https://camelid.example.org; empty is that of this machine.")],
) -> None:
    """The address of the pages in the links of messages."""
    NOTIFICATIONS.save({"page": url})
    typer.echo(f"Links begin with {url}." if url else "Links are those of the pages that run on this machine.")


@app.command("try")
def try_now(number: Annotated[int, typer.Argument(help="Its number in the list.", min=1)] = 1) -> None:
    """Send a webhook a message about a job that never was."""
    settings = NOTIFICATIONS.load()
    if number > len(settings.webhooks):
        raise JobError(f"There is no webhook {number}; `camelid jobs notify list` numbers them.")
    webhook = settings.webhooks[number - 1]
    job = Job(0, "try", {}, name="a-try", state=JobState.SUCCEEDED)
    problem, _ = send(webhook, job, open_store(), settings)
    if problem:
        raise JobError(f"{webhook.shown}: {problem.rstrip('.')}.")
    typer.echo(f"{webhook.shown} took it.")
