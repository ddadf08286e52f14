"""Which waiting job a machine begins next, and what it is given: the sums of what runs there never exceed what it has.

The order is that of the queue, strictly: where the first job does not fit beside what runs, nothing behind it is
begun, so what runs ends and it fits. Only a job that can never fit this machine is passed over. Knows needs, resources
and assignments. Knows nothing of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .resources import Assignment, Gpu, Needs, Resources

_UNKNOWN = 1 << 62
"""The memory of a card whose driver does not say: it is given whole to one job."""
Running = Mapping[int, Assignment]
"""The jobs that run on a machine, by number, and what each was given."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that may begin, as far as time and other jobs are concerned."""

    id: int
    needs: Needs | None
    member: bool = False
    """Whether it is a node of a group that has begun."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The job to begin, with what it is `given`; or, where `given` is None, the first in line that has to wait, and
    `why`."""

    id: int
    given: Assignment | None
    why: str = ""


def choose(queue: Iterable[Waiting], machine: Resources, running: Running) -> Choice | None:
    """The next job of a queue in its order; None where nothing in it can ever fit this machine."""
    for job in queue:
        if not never_fits(job.needs, machine):
            given = assign(job.needs, machine, running)
            return Choice(job.id, None, given) if isinstance(given, str) else Choice(job.id, given)
    return None


def never_fits(needs: Needs | None, machine: Resources) -> str:
    """Why such a job cannot run on this machine even with nothing beside; empty where it can."""
    if needs is None:
        return ""
    here = needs_on(needs, machine)
    if here is None or here.gpus > len(machine.gpus):
        return f"it needs {_cards(needs.gpus)}, and {machine.host} has {len(machine.gpus) or 'none'}"
    if here.gpus and sum(card.memory >= here.least or not card.memory for card in machine.gpus) < here.gpus:
        largest = max(card.memory for card in machine.gpus)
        return f"it needs {_size(here.least)} on {_each(here.gpus)}; {machine.host} has {_size(largest)} on its largest"
    if here.source == "given" and here.cores is not None and here.cores > machine.cores:
        return f"it needs {here.cores} cores; {machine.host} has {machine.cores}"
    if not here.gpus and here.least > machine.memory:
        return f"it needs {_size(here.least)} of memory; {machine.host} has {_size(machine.memory)}"
    return ""


def needs_on(needs: Needs, machine: Resources) -> Needs | None:
    """What a job needs on this machine: without cards it may need something else, or be unable to run (None)."""
    return needs if machine.gpus or not needs.gpus else needs.without_gpus


def assign(needs: Needs | None, machine: Resources, running: Running) -> Assignment | str:
    """What a job that can fit this machine is given beside what runs, or what it waits for."""
    wanted = _wanted(needs, machine)
    beside = f" beside {_jobs(running)}" if running else ""
    for word, need, free, show in (
        ("cores", wanted.cores, machine.cores - sum(each.cores for each in running.values()), str),
        ("memory", wanted.memory, machine.memory - sum(each.memory for each in running.values()), _size),
    ):
        if need > max(0, free):
            alone = "; its needs are not known, so it runs alone" if needs is None else ""
            return f"{word}: {show(need)} needed, {show(max(0, free))} free{beside}{alone}"
    if not machine.gpus:
        return wanted
    count = len(machine.gpus) if needs is None else needs.gpus
    large = [card for card in machine.gpus if needs is None or not card.memory or card.memory >= needs.least]
    cards = _fitting(wanted.gpu_memory, count, large, running.values())
    if len(cards) < count:
        room = f"{_size(wanted.gpu_memory)} on " if wanted.gpu_memory else ""
        return f"GPUs: {room}{_cards(count)} needed, {len(cards)} free{beside}"
    return replace(wanted, cards=tuple(cards[:count]))


def assign_anyway(needs: Needs | None, machine: Resources, running: Running) -> Assignment:
    """What a job that a person runs at once is given: what it needs, or the cards that are used by the fewest."""
    given = assign(needs, machine, running)
    if not isinstance(given, str):
        return given
    count = len(machine.gpus) if needs is None else min(needs.gpus, len(machine.gpus))
    uses = {card.id: sum(card.id in (each.cards or ()) for each in running.values()) for card in machine.gpus}
    wanted = _wanted(needs, machine)
    fewest = tuple(sorted(uses, key=lambda card: uses[card])[:count])
    return replace(wanted, cards=fewest) if machine.gpus else wanted


def _wanted(needs: Needs | None, machine: Resources) -> Assignment:
    """Cores, memory and memory of each card that such a job is given here; not more than there is."""
    here = Needs(memory=machine.memory) if needs is None else needs_on(needs, machine) or needs
    return Assignment(
        machine=machine.machine,
        host=machine.host,
        gpu_memory=max(here.gpu_memory, here.least) if here.gpus and here.gpu_memory else 0,
        cores=machine.cores if here.cores is None else min(here.cores, machine.cores),
        memory=min(max(here.memory, 0 if here.gpus else here.least), machine.memory),
    )


def _fitting(memory: int, count: int, cards: Sequence[Gpu], running: Iterable[Assignment]) -> list[str]:
    """The cards that have so much free (0: all of a card), the tightest first: large gaps stay for large jobs. Where
    fewer than `count` cards are that large, the largest are taken whole."""
    sizes = sorted((card.memory or _UNKNOWN for card in cards), reverse=True)
    least = min(memory, sizes[count - 1]) if count else 0
    room: dict[str, int] = {}
    for card in cards:
        free = _free(card, running)
        if not memory or not card.memory:
            left = 0 if free == (card.memory or 1) else -1
        else:
            left = free - min(memory, card.memory) if card.memory >= least else -1
        if left >= 0:
            room[card.id] = left
    return sorted(room, key=lambda card: room[card])


def _free(card: Gpu, running: Iterable[Assignment]) -> int:
    """Bytes of a card that no job was given; of one whose memory is not known 1 where no job has it."""
    free = card.memory or 1
    for each in running:
        if card.id in (each.cards or ()):
            free -= min(each.gpu_memory or free, card.memory or 1)
    return max(0, free)


def needs_in_words(needs: Needs) -> str:
    """`1 GPU with 12.5 GB each, 2 cores, 3.0 GB of memory (measured)`."""
    memory = f" with {_size(needs.gpu_memory)} each" if needs.gpu_memory else ""
    cards = f"{_cards(needs.gpus)}{memory}" if needs.gpus else ""
    cores = "all cores" if needs.cores is None else f"{needs.cores} cores"
    without = f"; without GPUs {needs_in_words(needs.without_gpus)}" if needs.without_gpus else ""
    parts = filter(None, (cards, cores, f"{_size(needs.memory)} of memory" if needs.memory else ""))
    return f"{', '.join(parts)} ({needs.source}){without}"


def assignment_in_words(given: Assignment) -> str:
    """`box: GPU-1 with 12.5 GB each, 2 cores, 3.0 GB of memory`."""
    memory = f" with {_size(given.gpu_memory)} each" if given.gpu_memory else ""
    cards = f"{', '.join(given.cards)}{memory}" if given.cards else ""
    parts = filter(None, (cards, f"{given.cores} cores", f"{_size(given.memory)} of memory" if given.memory else ""))
    return f"{given.host}: {', '.join(parts)}"


def _jobs(running: Running) -> str:
    numbers = sorted(running)
    shown = ", ".join(map(str, numbers[:4])) + (" …" if len(numbers) > 4 else "")
    return f"job{'s' * (len(numbers) > 1)} {shown}"


def _cards(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _each(count: int) -> str:
    return "a GPU" if count == 1 else f"each of {count} GPUs"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
