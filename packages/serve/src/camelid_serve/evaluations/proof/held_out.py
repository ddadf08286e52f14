"""Held-out text for a proof: rows that the model was not trained on and the export was not calibrated with.

Knows manifests, datasets and how a recipe's held-out rows are found again. Knows nothing of tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from camelid_core.artefacts import DatasetUse, Manifest
from camelid_core.calibration import Calibration, calibration_of, row_hash
from camelid_core.datasets.sources import open_dataset
from camelid_core.errors import CamelidError, DataError, UsageError
from camelid_core.mixing import mix
from camelid_core.mixing.config import Mixture
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.plugins import Host
from camelid_core.records import Record

from . import built_in_texts
from .shown_names import shown_name


@dataclass(frozen=True, slots=True)
class HeldOutText:
    """`name` says where the records are from, `notes` what was left out or could not be known; these are published, and
    tell no paths. `details` are for whoever runs it."""

    name: str
    records: list[Record]
    licence: str = "unknown"
    calibration_rows: int = 0
    notes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def use(self) -> DatasetUse:
        digest = hashlib.sha256("".join(map(row_hash, self.records)).encode())
        return DatasetUse(id=self.name, rows=len(self.records), sha256=digest.hexdigest(), licence=self.licence)


def held_out_text(data: str, rows: int, source: ResolvedModel, export: ResolvedModel, host: Host) -> HeldOutText:
    """At most `rows` records of `data`; without it, of what the model was trained on, or else of built-in texts.

    Raises:
        UnknownName: no such dataset or file.
        UsageError: a dataset without held-out rows.
        DataError: no rows that are neither trained on nor used for calibration.
    """
    calibration = calibration_of(export.manifest)
    candidates = _named(data, host) if data else _default([source, export], host)
    notes = [*candidates.notes, *_calibration_notes(calibration)]
    hashes = calibration.hashes if calibration else frozenset()
    kept: list[Record] = []
    used = 0
    for record in candidates.records:
        if row_hash(record) in hashes:
            used += 1
        elif len(kept) < rows:
            kept.append(record)
        else:
            break
    if used:
        notes.append(f"{used:,} rows of {candidates.name} were left out: the export was calibrated with them.")
    if len(kept) < 2:
        raise DataError(
            f"{candidates.name} holds {len(kept)} rows that the export was not calibrated with, and a proof takes two "
            "or more; give other text with --data."
        )
    return HeldOutText(candidates.name, kept, candidates.licence, used, notes, candidates.details)


@dataclass(frozen=True, slots=True)
class _Candidates:
    name: str
    records: Iterable[Record]
    licence: str
    notes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)


def _named(data: str, host: Host) -> _Candidates:
    dataset = open_dataset(data, host.datasets)
    if dataset.name in host.datasets and not dataset.heldout_rows:
        raise UsageError(f"dataset {dataset.name!r} has no held-out part; name a file, or a dataset that has one.")
    notes = []
    if dataset.name not in host.datasets:
        notes.append(f"Nothing tells whether {shown_name(data)!r} holds rows that the model was trained on.")
    return _Candidates(shown_name(dataset.name), dataset.load("heldout", None), dataset.licence, notes)


def _default(models: list[ResolvedModel], host: Host) -> _Candidates:
    """What the first model with a record of its training data held out, as far as it is on this machine."""
    manifest = next((each.manifest for each in models if _data_section(each.manifest)), None)
    if manifest is None:
        return _built_in("No manifest names data that the model was trained on.")
    section = _data_section(manifest)
    rows, seed = section.get("eval_rows"), section.get("split_seed")
    if not isinstance(rows, int) or rows < 1:
        return _built_in("The model was trained on all rows of its data; none were held out.")
    try:
        mixture = Mixture.model_validate({name: section[name] for name in Mixture.model_fields if name in section})
        mixed = mix(mixture, host.datasets, rows, split_seed=seed if isinstance(seed, int) else 0)
    except (CamelidError, ValueError) as error:
        return _built_in("The held-out rows of the training data cannot be had again on this machine.", str(error))
    if len(mixed.heldout) < 2:
        return _built_in("Fewer than two rows of the training data were held out.")
    used = [use.id for use in manifest.datasets] or mixture.sources
    names = ", ".join(map(shown_name, used))
    licence = " AND ".join(sorted({dataset.licence for dataset in mixed.datasets})) or "unknown"
    return _Candidates(f"held-out rows of {names}", mixed.heldout, licence)


def _data_section(manifest: Manifest | None) -> dict[str, object]:
    section = manifest.parameters.get("data") if manifest is not None else None
    return section if isinstance(section, dict) and section.get("sources") else {}


def _built_in(why: str, detail: str = "") -> _Candidates:
    note = f"{why} Built-in texts are compared; --data names others."
    records = built_in_texts.built_in_records(_MOST_BUILT_IN)
    return _Candidates(built_in_texts.NAME, records, "cc0-1.0", [note], [detail] if detail else [])


_MOST_BUILT_IN = 600


def _calibration_notes(calibration: Calibration | None) -> Iterator[str]:
    if calibration is not None and not calibration.hashes:
        names = ", ".join(map(shown_name, calibration.data.split(", ")))
        yield (
            f"The export was calibrated with {names}, and its manifest lists no rows of it: whether some of them are "
            "compared cannot be known."
        )
