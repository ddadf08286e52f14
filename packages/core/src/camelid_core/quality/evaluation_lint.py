"""An evaluation set by its name → the lint that finds its texts in other rows.

Knows which part of a set is the one to compare with. How texts are compared is in `contamination`.
"""

from __future__ import annotations

from camelid_core.datasets.dataset import Dataset
from camelid_core.datasets.sources import open_dataset, parse_sources
from camelid_core.registry import Registry

from .contamination import ContaminationIndex
from .row_lints import Lint

CONTAMINATION = "contamination"


def evaluation_lint(name: str, datasets: Registry[Dataset]) -> Lint:
    """Reads the held-out part of a set that has one, else all of it; `a+b` are two sets.

    Raises:
        UnknownName, DataError: no such set, or one that cannot be compared with.
    """
    opened = [open_dataset(source.name, datasets) for source in parse_sources([name], datasets)]
    parts = (dataset.load("heldout" if dataset.heldout_rows else "train", None) for dataset in opened)
    return ContaminationIndex(record for part in parts for record in part).lint()
