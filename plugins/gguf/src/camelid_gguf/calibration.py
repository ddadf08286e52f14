"""Calibration rows: what an importance matrix is computed on, as token ids of a model's own prompts.

Held-out rows of the model's own training are never among them. Knows datasets and manifests. Knows no weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from camelid_core.calibration import row_hash
from camelid_core.config import validate
from camelid_core.errors import CamelidError, ModelError
from camelid_core.mixing import MixedDataset, mix
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.plugins import Host
from camelid_core.quality.row_keys import conversation_key
from camelid_core.records import Record
from camelid_core.tokenization.encoder import Encoder
from camelid_train.config import DataSection

OWN = "own"
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


def calibration(names: Sequence[str], count: int, source: ResolvedModel, encoder: Encoder, host: Host) -> Calibration:
    """`count` rows, spread evenly over the datasets called `names`; `own` are those that the model was trained on.

    Raises:
        ModelError: nobody knows what the model was trained on, or there are fewer rows.
        CamelidError: a dataset that is not known, or not here.
    """
    own = _own(source)
    section = own if list(names) == [OWN] else _named(names, source)
    if section is None:
        raise ModelError(
            f"{source.name!r} does not say what rows it was trained on; name datasets: calibration='[\"NAME\"]'."
        )
    mixed = _mixed(section, host)
    reserved = {conversation_key(record) for record in _mixed(own, host).heldout} if own is not None else set()
    rows = list(islice(_encoded(mixed, reserved, encoder, max(1, len(mixed) // count)), count))
    if len(rows) < count:
        raise ModelError(
            f"{', '.join(section.sources)} give {len(rows):,} calibration rows, and {count:,} were asked for; set "
            f"calibration_rows={len(rows)}, or name more datasets."
        )
    return Calibration(section.sources, [ids for ids, _ in rows], sorted({row_hash(record) for _, record in rows}))


def _own(source: ResolvedModel) -> DataSection | None:
    data = source.manifest.parameters.get("data") if source.manifest else None
    return validate(DataSection, data, f"the manifest of {source.name!r}") if isinstance(data, dict) else None


def _named(names: Sequence[str], source: ResolvedModel) -> DataSection:
    if OWN in names:
        raise ModelError(f"{OWN!r} stands alone in calibration, or datasets do.")
    return DataSection(sources=list(names), eval_rows=0)


def _mixed(section: DataSection, host: Host) -> MixedDataset:
    return mix(section, host.datasets, section.eval_rows, None, section.split_seed)


def _encoded(
    mixed: MixedDataset, reserved: set[int], encoder: Encoder, step: int
) -> Iterator[tuple[list[int], Record]]:
    """Every row that is left, the evenly spread ones first."""
    yield from _encode(islice(mixed.records(), 0, None, step), reserved, encoder)
    if step > 1:
        between = (record for number, record in enumerate(mixed.records()) if number % step)
        yield from _encode(between, reserved, encoder)


def _encode(records: Iterator[Record], reserved: set[int], encoder: Encoder) -> Iterator[tuple[list[int], Record]]:
    for record in records:
        if conversation_key(record) in reserved:
            continue
        try:
            ids = encoder.example(record.messages).input_ids[:MAX_TOKENS]
        except CamelidError:  # the template has no form for it
            continue
        if ids:
            yield ids, record
