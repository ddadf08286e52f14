"""Calibration rows of an export, as its manifest names them: so that no proof is made with what it was made with.

Quantisers look at rows to decide how to round. An exporter that does so returns `{"data": NAME, "rows": N, "hashes":
[row_hash, …]}` as `calibration` among its parameters, which the manifest keeps in `parameters.export`. Knows rows and
manifests. Knows no quantiser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .artefacts import Manifest
from .quality.row_keys import fingerprint
from .records import Record


@dataclass(frozen=True, slots=True)
class Calibration:
    """What an export was calibrated with: `hashes` are those of its rows, empty where the manifest lists none."""

    data: str
    hashes: frozenset[str]


def row_hash(record: Record) -> str:
    """32 hexadecimal digits that two rows share when they differ at most in white space and Unicode composition."""
    return fingerprint(record).hex()


def calibration_of(manifest: Manifest | None) -> Calibration | None:
    """The calibration that a manifest tells of; None where it tells of none."""
    export = manifest.parameters.get("export") if manifest is not None else None
    told = export.get("calibration") if isinstance(export, Mapping) else None
    if not told:
        return None
    values = told if isinstance(told, Mapping) else {"hashes": told}
    hashes = values.get("hashes")
    listed = hashes if isinstance(hashes, list) else []
    return Calibration(str(values.get("data") or "unnamed rows"), frozenset(str(each) for each in listed))
