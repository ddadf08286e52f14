"""Is this data good? Lints as data, duplicates, languages, contamination, and one pass that reports them all."""

from __future__ import annotations

from .corpus import CORPUS_LINTS
from .evaluation import CONTAMINATION, evaluation_lint
from .keys import KeyMap, fingerprint, prompt_key, record_key
from .language import LanguageSample
from .lints import LINTS as _ROW_LINTS
from .lints import Lint, control_tokens_of
from .near import NearIndex
from .ngrams import Contamination, contamination
from .sieve import Account, Deduplicate, Sieve, clean
from .summary import Finding, Stats, stats

LINTS: dict[str, Lint] = {**_ROW_LINTS, **CORPUS_LINTS}
"""Every lint by name. `LINTS[name].find(record)` looks at one row; `.start()` gives a `find` for a run of rows."""

__all__ = [
    "CONTAMINATION",
    "LINTS",
    "Account",
    "Contamination",
    "Deduplicate",
    "Finding",
    "KeyMap",
    "LanguageSample",
    "Lint",
    "NearIndex",
    "Sieve",
    "Stats",
    "clean",
    "contamination",
    "control_tokens_of",
    "evaluation_lint",
    "fingerprint",
    "prompt_key",
    "record_key",
    "stats",
]
