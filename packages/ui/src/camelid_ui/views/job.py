"""One opened job: what it needs and who needs it, its result, the commands that do what the page does, its log.

Knows job views and jobs. Calls no service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from camelid_core.jobs import Job
from camelid_core.jobs.admission import assignment_in_words, needs_in_words

from camelid_ui.i18n import Translator
from camelid_ui.services.jobs import JobView

from . import code, esc, facts, state
from .jobs import job_link
from .numbers import size

_ACTIONS = {"cancel": "cancel", "pause": "pause", "finish": "finish", "retry": "retry"}
"""Allowed actions and the command of each."""


@dataclass(frozen=True, slots=True)
class JobDetails:
    """What is shown of an opened job beside its head: files of its result by name, with their sizes in bytes."""

    view: JobView
    needed: Sequence[Job] = ()
    needing: Sequence[Job] = ()
    nodes: Sequence[Job] = ()
    events: Sequence[Mapping[str, Any]] = ()
    files: Sequence[tuple[str, int]] = ()


def details(shown: JobDetails, say: Translator) -> str:
    job = shown.view.job
    about = facts(
        [
            (say("jobs.what"), say.optional(f"task.{job.task}", job.task)),
            (say("jobs.worker"), " · ".join(filter(None, (job.owner.rpartition(":")[0] or job.owner, job.process)))),
            (say("jobs.user"), job.user),
            (say("jobs.takes"), needs_in_words(job.needs) if job.needs else ""),
            (say("jobs.given"), assignment_in_words(job.assigned) if job.assigned else ""),
            (say("jobs.attempt"), job.epoch or ""),
            (say("jobs.priority"), job.priority or ""),
        ]
    )
    events = "\n".join(json.dumps(event, ensure_ascii=False) for event in shown.events)
    settings = json.dumps(dict(job.config), indent=2, ensure_ascii=False)
    return (
        f"{about}{_related(say('jobs.needs'), shown.needed, say)}{_related(say('jobs.needed_by'), shown.needing, say)}"
        f"{_nodes(shown.nodes, say)}{_result(shown, say)}"
        f"{_part('commands', say('jobs.commands'), _commands(shown.view, say))}"
        f"{_part('events', say('jobs.events'), _pre(events))}{_part('settings', say('jobs.settings'), _pre(settings))}"
    )


def live_log(job_id: str, say: Translator) -> str:
    """A log that the page's script fills, and goes on filling as lines come."""
    if not job_id.isdecimal():
        return ""
    words = {
        "empty": say("jobs.log_empty"),
        "cut": say("jobs.log_cut", command=f"camelid jobs logs {job_id}"),
        "attempt": say("jobs.log_attempt"),
    }
    values = "".join(f' data-{name}="{esc(text)}"' for name, text in words.items())
    return (
        f'<h3 class="camelid-subhead">{esc(say("jobs.log"))}</h3>'
        '<pre class="camelid-log camelid-live-log" tabindex="0" role="log" '
        f'aria-label="{esc(say("jobs.log"))}" data-job="{job_id}"{values}></pre>'
    )


def _related(title: str, jobs: Sequence[Job], say: Translator) -> str:
    if not jobs:
        return ""
    items = "".join(f"<li>{job_link(job)} {state(str(job.state), say(f'state.{job.state}'))}</li>" for job in jobs)
    return f'<div class="camelid-related"><b>{esc(title)}</b><ul>{items}</ul></div>'


def _nodes(nodes: Sequence[Job], say: Translator) -> str:
    """Links to the other nodes of a run on several, where their logs are."""
    items = "".join(
        f"<li>{esc(say('jobs.node', number=node.rank))} {job_link(node)} "
        f"{state(str(node.state), say(f'state.{node.state}'))}</li>"
        for node in nodes
    )
    return f'<div class="camelid-related"><b>{esc(say("jobs.nodes"))}</b><ul>{items}</ul></div>' if items else ""


def _result(shown: JobDetails, say: Translator) -> str:
    published = shown.view.job.published
    if not published:
        return ""
    files = "".join(
        f"<li><code>{esc(name)}</code> <small>{esc(size(count))}</small></li>" for name, count in shown.files
    )
    listed = _part("files", say("jobs.files", count=len(shown.files)), f'<ul class="camelid-files">{files}</ul>')
    path = code(published, say("jobs.result"), say("copy"))
    return f'<div class="camelid-related"><b>{esc(say("jobs.result"))}</b></div>{path}{listed if files else ""}'


def _commands(view: JobView, say: Translator) -> str:
    number = view.job.id
    lines = [f"camelid jobs logs {number} --follow", f"camelid jobs show {number}"]
    lines += [
        f"camelid jobs {command} {number}" for action, command in _ACTIONS.items() if action in view.allowed_actions
    ]
    if view.running:
        lines.append(f"camelid jobs wait {number}")
    return "".join(code(line, say("jobs.commands"), say("copy")) for line in lines)


def _part(name: str, title: str, inner: str) -> str:
    if not inner:
        return ""
    return f'<details class="camelid-part" data-part="{name}"><summary>{esc(title)}</summary>{inner}</details>'


def _pre(text: str) -> str:
    return f'<pre class="camelid-log" tabindex="0">{esc(text)}</pre>' if text else ""
