"""Data quality: lints, duplicates and near-duplicates, languages, contamination, and one pass that reports them all."""

from __future__ import annotations

from .contamination import ContaminationIndex
from .corpus_lints import CORPUS_LINTS
from .evaluation_lint import CONTAMINATION, evaluation_lint
from .language import LanguageSample
from .near_duplicates import NearDuplicateIndex
from .row_filter import Deduplicate, RowAccount, RowFilter, clean
from .row_keys import KeyMap, conversation_key, fingerprint, prompt_key, record_key
from .row_lints import LINTS as _ROW_LINTS
from .row_lints import Lint, control_tokens_of
from .statistics import DatasetStats, LintFinding, compute_stats

LINTS: dict[str, Lint] = {**_ROW_LINTS, **CORPUS_LINTS}
"""Every lint by name. `LINTS[name].find(record)` looks at one row; `.start()` gives a `find` for a run of rows."""

__all__ = [
    "CONTAMINATION",
    "LINTS",
    "ContaminationIndex",
    "DatasetStats",
    "Deduplicate",
    "KeyMap",
    "LanguageSample",
    "Lint",
    "LintFinding",
    "NearDuplicateIndex",
    "RowAccount",
    "RowFilter",
    "clean",
    "compute_stats",
    "control_tokens_of",
    "conversation_key",
    "evaluation_lint",
    "fingerprint",
    "prompt_key",
    "record_key",
]
