"""Calibration data: the rows by which a quantiser rounds, from datasets or from what the model was trained on.

Rows that were held out of the model's training are never among them. Knows datasets and manifests. Knows no tokens and
no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from camelid_core.config import validate
from camelid_core.errors import CamelidError, DataError
from camelid_core.mixing import MixedDataset, mix
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.plugins import Host
from camelid_core.quality.row_keys import conversation_key
from camelid_core.records import Record

from camelid_train.config import DataSection
from camelid_train.sections import OWN


@dataclass(frozen=True, slots=True)
class CalibrationData:
    """`names` are shown to people and kept in manifests: files without their directory, as artefacts travel. Of `count`
    rows some may be held out."""

    names: Sequence[str]
    count: int
    _mixed: MixedDataset
    _heldout: frozenset[int]

    def records(self) -> Iterator[Record]:
        """The rows in the mixture's order."""
        return (record for record in self._mixed.records() if conversation_key(record) not in self._heldout)


def calibration_data(
    source: ResolvedModel, calibration: Sequence[str], host: Host, say: Callable[[str], None]
) -> CalibrationData:
    """The rows of the datasets that `calibration` names, as in a recipe, or the model's training rows for `own`.

    Raises:
        DataError: nobody knows what the model was trained on, or it is not here.
        UnknownName: there is no such dataset.
    """
    own = list(calibration) == [OWN]
    if OWN in calibration and not own:
        raise DataError(f"{OWN!r} stands alone in calibration, or datasets do; {list(calibration)!r} has both.")
    training = _training_data(source, own, host, say)
    heldout = frozenset(map(conversation_key, training.heldout)) if training else frozenset()
    if training is None or not own:
        training = _mix(DataSection(sources=list(calibration), eval_rows=0), host)
    return CalibrationData([_shown(each.name) for each in training.datasets], len(training), training, heldout)


def without_training_data(model: str) -> str:
    """What is said of a model that was not trained here: it has no rows of its own to calibrate with."""
    return (
        f"{model!r} was not trained here, so it has no training data to calibrate with. Name a calibration set: "
        "calibration=NAME of a dataset (`camelid datasets list`), or a file."
    )


def _training_data(source: ResolvedModel, needed: bool, host: Host, say: Callable[[str], None]) -> MixedDataset | None:
    """What the model was trained on, with the rows that were held out; None where that is not known, or not here."""
    values = (source.manifest.parameters if source.manifest else {}).get("data")
    if not values:
        if needed:
            raise DataError(without_training_data(source.name))
        return None
    try:
        return _mix(validate(DataSection, values, "the model's manifest"), host)
    except CamelidError as error:
        if needed:
            raise DataError(
                f"the training data of {source.name!r} cannot be read: {error} Name another calibration set: "
                "calibration=NAME."
            ) from None
        say(f"What was held out of the training data cannot be told apart, as those cannot be read: {error}")
        return None


def _mix(section: DataSection, host: Host) -> MixedDataset:
    return mix(section, host.datasets, section.eval_rows, None, section.split_seed)


def _shown(name: str) -> str:
    return Path(name).name if Path(name).is_absolute() else name
