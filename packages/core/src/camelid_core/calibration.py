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

_KEYS = ("calibration", "calibration_data", "imatrix")
"""Where a manifest's `parameters.export` tells of calibration: a mapping with row hashes, or names of data or of an
importance matrix, of which the rows are not known."""


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
    if not isinstance(export, Mapping):
        return None
    told = [export[key] for key in _KEYS if export.get(key)]
    values = next((each for each in told if isinstance(each, Mapping)), None)
    if values is None:
        return Calibration(_names(told[0]), frozenset()) if told else None
    hashes = values.get("hashes")
    listed = hashes if isinstance(hashes, list) else []
    return Calibration(_names(values.get("data") or values.get("sources")), frozenset(str(each) for each in listed))


def _names(told: object) -> str:
    names = told if isinstance(told, list) else [told]
    return ", ".join(str(name) for name in names if name) or "unnamed rows"
