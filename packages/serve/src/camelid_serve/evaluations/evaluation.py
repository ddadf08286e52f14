"""What an evaluation is: items to ask a model, and how its answers are scored.

An item is one or several conversations. A model either continues each of them in words (`generate`), or tells how
likely the answer is that each ends with (`likelihood`): its choice is then the likeliest conversation.
Knows no engine, no file and no statistics. Plugins add evaluations through the hook `camelid_evaluations`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from camelid_core.datasets.sources import open_dataset
from camelid_core.errors import CamelidError, DataError
from camelid_core.plugins import Host
from camelid_core.records import Message, Record

from camelid_serve.engine import Sampling

if TYPE_CHECKING:
    from camelid_serve.loaded_models import LoadedModel

Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """`id` is stable, so that two models are paired on it; `cluster` names what it shares with other items (a passage,
    a shape of problem), empty where it stands by itself; `prompts` are the conversations, of which one that ends with
    an answer is continued; `gold` is the right answer in words, and `about` what the score needs beside it. `group` is
    the part of the evaluation that it belongs to, such as a subject.

    `shorter` are the same conversations with fewer examples, taken in order where those before have more than
    `most_tokens` tokens, or more than the model takes."""

    id: str
    prompts: tuple[Conversation, ...]
    gold: str = ""
    cluster: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    shorter: tuple[tuple[Conversation, ...], ...] = ()
    most_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that is no item, and why: counted and said, never silent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model made of one conversation: the text that it added to it; or the log-probability of the answer that
    the conversation ends with, from where that differs from the other conversations', and the characters of it."""

    text: str = ""
    logprob: float = 0.0
    characters: int = 0
    finish: str = ""
    greedy: bool = False
    """Whether greedy decoding gives just the answer whose likelihood was asked for."""


Outcome = tuple[Answer, ...] | CamelidError
"""The answers of one item, or why there are none."""

Ask = Callable[
    ["LoadedModel", Sequence[tuple[int, Item]], Sampling, int], Generator[tuple[int, Outcome, int], None, None]
]
"""Asks a model numbered items, so many at once; gives each one's number, outcome, and tokens read or generated."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number per item. `share` is shown in per cent; `better` says which way is."""

    name: str
    help: str
    share: bool = True
    better: Literal["higher", "lower", "neither"] = "higher"


@dataclass(frozen=True)
class ItemSource:
    """Where an evaluation's items come from: `data` is the name of a dataset or a path that a person gave, and `rows`
    the most items that are asked for; `host` knows the datasets."""

    data: str
    rows: int
    host: Host

    def records(self) -> Iterator[Record]:
        """The held-out records of the dataset, or all of a file.

        Raises:
            DataError: a registered dataset without held-out rows: models were trained on all of it.
        """
        dataset = open_dataset(self.data, self.host.datasets)
        if dataset.name in self.host.datasets and not dataset.heldout_rows:
            raise DataError(f"dataset {dataset.name!r} has no held-out part; name a file, or a dataset that has one.")
        return dataset.load("heldout", self.rows if dataset.heldout_rows else None)


@dataclass(frozen=True)
class Evaluation:
    """`items(source)` yields items, and what is skipped, always in the same order; `score(item, answers)` gives a
    number for each of `measures`, of which the first is what the evaluation is about; a measure that does not apply to
    an item is left out. `data` is the dataset that is taken where a person names none, empty where one must be named.
    `sampling` has the fields of `Sampling` that differ from greedy decoding."""

    name: str
    help: str
    measures: tuple[Measure, ...]
    items: Callable[[ItemSource], Iterable[Item | Skipped]]
    score: Callable[[Item, Sequence[Answer]], Mapping[str, float]]
    kind: Literal["generate", "likelihood"] = "generate"
    data: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    ask: Ask | None = None
    """How a model is asked, where it is neither in words nor by likelihood of whole conversations."""


def record_items(source: ItemSource, make: Callable[[Record], Item | Skipped]) -> Iterator[Item | Skipped]:
    """One item for each record, up to the number of rows that was asked for; a record is skipped where it has no
    question, and where `make` says so."""
    found = 0
    for record in source.records():
        if found == source.rows:
            return
        made = Skipped("no question") if record.is_text or not record.prompt else make(record)
        found += isinstance(made, Item)
        yield made


def cluster_of(record: Record) -> str:
    """What a record shares with others: its passage; else the shape of a generated problem; else nothing."""
    if context := record.prompt[-1].context:
        return context
    return "-".join((record.source, *record.tags)) if record.source and record.tags else ""
