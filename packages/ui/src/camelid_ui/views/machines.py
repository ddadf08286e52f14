"""Machines: what each has, how busy it is, and what it runs. Knows machine views; calls no service."""

from __future__ import annotations

import time
from collections.abc import Sequence

from camelid_ui.i18n import Translator
from camelid_ui.services.machines import MachineView

from . import Cell, ListingRow, cell, esc, listing
from .jobs import job_link
from .numbers import duration, size


def machines(found: Sequence[MachineView], say: Translator) -> str:
    heads = [say(f"machines.{head}") for head in ("name", "state", "cards", "load", "memory", "runs")]
    return listing(heads, [_row(machine, say) for machine in found], say("machines.title"))


def _row(machine: MachineView, say: Translator) -> ListingRow:
    return ListingRow(
        [
            cell(machine.name, "main"),
            Cell(f'<span class="camelid-state {_colour(machine)}">{esc(_state(machine, say))}</span>'),
            cell(_cards(machine, say)),
            Cell(_load(machine, say), "number"),
            cell(_memory(machine, say)),
            Cell(_jobs(machine, say)),
        ]
    )


_COLOURS = {"here": "succeeded", "online": "succeeded", "away": "lost", "revoked": "failed"}
"""Which job state's colour a machine's state has."""


def _colour(machine: MachineView) -> str:
    return "" if machine.workers == 0 else _COLOURS.get(machine.state, "")


def _state(machine: MachineView, say: Translator) -> str:
    if machine.workers is not None:
        return say("machines.workers", count=machine.workers) if machine.workers else say("machines.no_worker")
    word = say(f"machines.{machine.state}")
    if machine.state != "away":
        return word
    return f"{word} · {say('jobs.ago', age=duration(max(0.0, time.time() - machine.seen)))}"


def _cards(machine: MachineView, say: Translator) -> str:
    if machine.cards:
        return machine.cards
    return say("machines.cores", count=machine.cores) if machine.cores else ""


def _load(machine: MachineView, say: Translator) -> str:
    if not machine.cores:
        return ""
    percent = min(100.0, 100 * machine.load)
    over = " over" if machine.load > 1 else ""
    label = esc(say("machines.load"))
    return (
        f'<span class="camelid-mini{over}" role="img" aria-label="{label}"><span style="width:{percent:.0f}%"></span>'
        f"</span> {100 * machine.load:.0f} %"
    )


def _memory(machine: MachineView, say: Translator) -> str:
    if not machine.memory:
        return ""
    return say("machines.free", free=size(machine.memory_free), total=size(machine.memory))


def _jobs(machine: MachineView, say: Translator) -> str:
    return "<br>".join(map(job_link, machine.jobs)) or f'<span class="quiet">{esc(say("machines.nothing"))}</span>'
