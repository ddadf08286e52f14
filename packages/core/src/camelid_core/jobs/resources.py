"""What a job needs, what a machine has, and what a running job was given: plain data that travels as JSON.

Knows numbers and their JSON, which may come from another machine. Knows nothing of how they are found or compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from camelid_core.errors import UsageError, shortened

NeedsSource = Literal["declared", "estimated", "measured", "given"]
"""Where needs come from: said by the task for all its jobs, reckoned from a configuration, measured by the pre-flight
of a like run, or said by a person."""

_MOST = 1 << 60
_MOST_CARDS = 1024
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job takes while it runs. Bytes; `gpu_memory` is that of each of its `gpus`, and 0 means whole cards.

    `cores` None means all that there are, `memory` (of the machine) 0 that it is small beside all else. `least` is the
    memory without which it cannot run at all: that of each card, or of the machine where it takes none. A machine that
    has less than the job needs and at least that much runs it with nothing beside. `without_gpus` says what it needs
    where there are no cards; None: it cannot run there.
    """

    gpus: int = 0
    gpu_memory: int = 0
    cores: int | None = None
    memory: int = 0
    least: int = 0
    source: NeedsSource = "declared"
    without_gpus: Needs | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Raises UsageError: these are no needs."""
        known = _known(values, cls, "needs")
        other = known.pop("without_gpus", None)
        source = known.pop("source", "declared")
        if source not in get_args(NeedsSource):
            raise UsageError(f"needs: source {shortened(str(source))!r} is none of {', '.join(get_args(NeedsSource))}.")
        cores = known.pop("cores", None)
        numbers = {name: _whole(value, f"needs: {name}") for name, value in known.items()}
        return cls(
            **numbers,
            cores=None if cores is None else _whole(cores, "needs: cores"),
            source=source,
            without_gpus=None if other is None else Needs.from_json({**_mapping(other), "without_gpus": None}),
        )


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics card. `id` is what CUDA_VISIBLE_DEVICES takes; `memory` is all it has in bytes, 0 where the driver
    does not say."""

    id: str
    name: str = "-"
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Resources:
    """What a machine has for jobs. `machine` tells machines apart: workers with the same share these resources; `host`
    is its name for people. `memory` is in bytes, within the limits of the container."""

    machine: str
    host: str
    cores: int
    memory: int
    gpus: tuple[Gpu, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"gpus": [asdict(gpu) for gpu in self.gpus]}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Raises UsageError: these are no resources."""
        known = _known(values, cls, "resources")
        cards = known.get("gpus") or ()
        if not isinstance(cards, list | tuple) or len(cards) > _MOST_CARDS:
            raise UsageError(f"resources: gpus must be a list of at most {_MOST_CARDS} cards.")
        return cls(
            machine=_text(known.get("machine"), "resources: machine"),
            host=_text(known.get("host"), "resources: host"),
            cores=_whole(known.get("cores"), "resources: cores"),
            memory=_whole(known.get("memory"), "resources: memory"),
            gpus=_different([_gpu(card) for card in cards]),
        )

    @classmethod
    def of_joined(cls, name: str, description: Mapping[str, Any]) -> Self:
        """Those of a joined machine, of what it says of itself. An agent runs one job at a time, with all cards."""
        cards = description.get("accelerators") or ()
        gpus = [
            {"id": str(number), "name": card["name"], "memory": card["memory"]} for number, card in enumerate(cards)
        ]
        about = {key: description.get(key, 0) for key in ("cores", "memory")}
        return cls.from_json({"machine": f"joined {name}", "host": name, **about, "gpus": gpus})


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a running job was given: a machine, cards by their ids with so much memory of each (0: whole cards), cores
    and memory. `cards` None: this machine's cards are not known, and nothing is said to the job about them."""

    machine: str
    host: str
    cards: tuple[str, ...] | None = None
    gpu_memory: int = 0
    cores: int = 0
    memory: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"cards": None if self.cards is None else list(self.cards)}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Raises UsageError: this is no assignment."""
        known = _known(values, cls, "assignment")
        cards = known.get("cards")
        return cls(**known | {"cards": None if cards is None else tuple(cards)})


def _different(cards: list[Gpu]) -> tuple[Gpu, ...]:
    if len({card.id for card in cards}) < len(cards):
        raise UsageError("resources: two cards have the same id.")
    return tuple(cards)


def _gpu(values: Any) -> Gpu:
    known = _known(values, Gpu, "a card")
    card_id = _text(known.get("id"), "a card: id")
    if "," in card_id:
        raise UsageError(f"a card: id {card_id!r} has a comma, which separates ids.")
    return Gpu(
        card_id,
        _text(known.get("name", "-"), "a card: name"),
        _whole(known.get("memory", 0), "a card: memory"),
    )


def _mapping(values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise UsageError(f"{shortened(repr(values))} is no object.")
    return values


def _known(values: Any, cls: type[Any], what: str) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    if unknown := sorted(set(map(str, _mapping(values))) - names):
        raise UsageError(f"{what}: {shortened(unknown[0])!r} is not known; known: {', '.join(sorted(names))}.")
    return dict(values)


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
        raise UsageError(f"{what} is {shortened(repr(value))}; it must be a whole number from 0 to 2^60.")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not value.isprintable():
        raise UsageError(f"{what} is {shortened(repr(value))}; it must be a text of 1 to {_LONGEST} characters.")
    return value
