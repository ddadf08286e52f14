"""Calibration rows: token ids on which a model is run while its weights are quantised.

Under the model's own template. Texts become one stream, of which windows are taken at random, as AutoGPTQ's
users do with wikitext; conversations are shuffled and joined, and each row begins with the beginning of one.
Knows records, templates and token ids. Knows no weights.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from camelid_core.calibration import row_hash
from camelid_core.errors import DataError, TemplateError
from camelid_core.records import Message, Record
from camelid_core.tokenization.encoder import Encoder
from camelid_train.export.calibration_data import CalibrationData

from .section import GptqSection

MOST_RECORDS = 20_000
"""Of a larger set the first so many are looked at."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Calibration:
    """`rows` of `seqlen` token ids each, made of `records`; `name` is shown to people, and no path of this machine."""

    name: str
    seqlen: int
    rows: list[list[int]]
    records: Sequence[Record]

    @property
    def entry(self) -> dict[str, Any]:
        """What a manifest keeps of it: `hash` is that of all token ids, `hashes` those of the records, by which a proof
        knows what it must not be made with."""
        hashes = sorted({row_hash(record) for record in self.records})
        counts = {"rows": len(self.rows), "seqlen": self.seqlen}
        return {"name": self.name, "data": self.name, **counts, "hash": self.sha256, "hashes": hashes}

    @property
    def sha256(self) -> str:
        """Over all token ids, as 32-bit integers, rows one after the other."""
        digest = hashlib.sha256(f"{len(self.rows)}x{self.seqlen}".encode())
        for row in self.rows:
            digest.update(array("i", row).tobytes())
        return digest.hexdigest()


def calibration_rows(data: CalibrationData, section: GptqSection, encoder: Encoder, say: Say) -> Calibration:
    """The rows that the section asks for.

    Raises:
        DataError: there are fewer than asked for.
    """
    name = ", ".join(data.names)
    chosen = list(islice(data.records(), MOST_RECORDS))
    rng = random.Random(section.seed)
    if chosen and all(record.is_text for record in chosen):
        rows, used = _windows(_text_ids(chosen, encoder), section, rng, name), len(chosen)
    else:
        rng.shuffle(chosen)
        rows, used = _packed(_conversation_ids(chosen, encoder, say), section, name)
    return Calibration(name, section.seqlen, rows, chosen[:used])


def _text_ids(records: Sequence[Record], encoder: Encoder) -> list[int]:
    """All texts as one, an empty one as a blank line."""
    lines = (record.messages[0].content for record in records)
    text = "".join(line if line.endswith("\n") else f"{line}\n" if line.strip() else " \n" for line in lines)
    return encoder.example([Message("text", text)]).input_ids


def _windows(ids: Sequence[int], section: GptqSection, rng: random.Random, name: str) -> list[list[int]]:
    """Random windows, which may overlap."""
    if len(ids) // section.seqlen < section.rows:
        raise _too_few(len(ids) // section.seqlen, section, name)
    starts = (rng.randint(0, max(0, len(ids) - section.seqlen - 1)) for _ in range(section.rows))
    return [list(ids[start : start + section.seqlen]) for start in starts]


def _conversation_ids(records: Sequence[Record], encoder: Encoder, say: Say) -> Iterator[list[int]]:
    """The ids of each conversation under the template; none of those that are marked as bad answers, and of those that
    the template has no form for."""
    refused = 0
    for record in records:
        ids: list[int] = []
        try:
            ids = [] if record.label is False else encoder.example(record.messages).input_ids
        except TemplateError:
            refused += 1
        yield ids
    if refused:
        say(f"{refused:,} conversations were left out: template {encoder.template.name!r} has no form for them.")


def _packed(conversations: Iterator[list[int]], section: GptqSection, name: str) -> tuple[list[list[int]], int]:
    """The rows, and how many conversations they are made of."""
    rows: list[list[int]] = []
    row: list[int] = []
    for used, ids in enumerate(conversations, 1):
        row += ids
        if len(row) >= section.seqlen:
            rows.append(row[: section.seqlen])
            row = []
        if len(rows) == section.rows:
            return rows, used
    raise _too_few(len(rows), section, name)


def _too_few(there: int, section: GptqSection, name: str) -> DataError:
    """The error where there are fewer rows than asked for."""
    shorter = f"rows={there}" if there else f"a seqlen under {section.seqlen:,}"
    return DataError(
        f"calibration set {name!r} gives {there:,} rows of {section.seqlen:,} tokens, and rows={section.rows:,} are "
        f"asked for. Ask for {shorter}, shorten seqlen, or name a larger set in calibration."
    )
