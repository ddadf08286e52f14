"""Calibration rows: what an importance matrix is computed on, as token ids of a model's own prompts.

Knows records and token ids. Knows no weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from camelid_core.calibration import row_hash
from camelid_core.errors import CamelidError, ModelError
from camelid_core.records import Record
from camelid_core.tokenization.encoder import Encoder
from camelid_train.export.calibration_data import CalibrationData

MAX_TOKENS = 512
"""Tokens of a row that count; the rest of longer ones is left out."""


@dataclass(frozen=True)
class Calibration:
    """Token ids of rows, the names of the datasets that they are from, and the hash of each row's record."""

    sources: Sequence[str]
    rows: Sequence[Sequence[int]]
    hashes: Sequence[str]

    @property
    def account(self) -> Mapping[str, Any]:
        """What the manifest keeps of them; a proof leaves out rows by their `hashes`."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(" ".join(map(str, row)).encode() + b"\n")
        tokens = sum(map(len, self.rows))
        return {
            "sources": [*self.sources],
            "rows": len(self.rows),
            "tokens": tokens,
            "sha256": digest.hexdigest(),
            "hashes": [*self.hashes],
        }


def calibration_rows(data: CalibrationData, count: int, encoder: Encoder) -> Calibration:
    """`count` rows, spread evenly over the data.

    Raises:
        ModelError: there are fewer.
    """
    rows = list(islice(_encoded(data, encoder, max(1, data.count // count)), count))
    if len(rows) < count:
        raise ModelError(
            f"{', '.join(data.names)} give {len(rows):,} calibration rows, and {count:,} were asked for; set "
            f"calibration_rows={len(rows)}, or name more datasets."
        )
    return Calibration(data.names, [ids for ids, _ in rows], sorted({row_hash(record) for _, record in rows}))


def _encoded(data: CalibrationData, encoder: Encoder, step: int) -> Iterator[tuple[list[int], Record]]:
    """Every row, the evenly spread ones first."""
    yield from _encode(islice(data.records(), 0, None, step), encoder)
    if step > 1:
        yield from _encode((record for number, record in enumerate(data.records()) if number % step), encoder)


def _encode(records: Iterator[Record], encoder: Encoder) -> Iterator[tuple[list[int], Record]]:
    for record in records:
        try:
            ids = encoder.example(record.messages).input_ids[:MAX_TOKENS]
        except CamelidError:  # the template has no form for it
            continue
        if ids:
            yield ids, record
