"""Question, answer and reasoning → one of several prompt phrasings, chosen by a hash of seed and row.

Knows `phrasings.toml` and the nine sets by the names of their files. How such a file is parsed, core knows.
"""

from __future__ import annotations

import functools
import hashlib
import tomllib
from importlib.resources import files
from pathlib import Path

from camelid_core.readers import READERS, ReadContext, Reader, Row, build_record
from camelid_core.records import Message, Record

FLAN_READER = "flan-tsv"


@functools.cache
def phrasings() -> dict[str, tuple[tuple[str, str], ...]]:
    """Every set's pairs of question and answer pattern; read once, when a row is first phrased."""
    values = tomllib.loads((files(__package__) / "phrasings.toml").read_text(encoding="utf-8"))
    return {name: tuple((pair[0], pair[1]) for pair in pairs) for name, pairs in values.items()}


def cot_set_name(stem: str) -> str:
    """The chain-of-thought set of a file: `gsm8k_train.tsv` and `gsm8k.tsv` are of gsm8k. Empty: of none."""
    name = stem.lower().removesuffix("_train")
    return name if name in phrasings() else ""


def phrasing_index(seed: int, name: str, number: int, count: int) -> int:
    """Index of the phrasing of a row among `count`: a hash, so that it is the same on every machine and Python."""
    digest = hashlib.blake2b(f"{seed}\0{name}\0{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def _accepts(path: Path) -> bool:
    return bool(cot_set_name(path.stem))


def _record(row: Row, number: int, read_context: ReadContext) -> Record:
    """The same seed gives a row the same phrasing, whichever other rows are read."""
    name = cot_set_name(read_context.source)
    pairs = phrasings()[name]
    ask, reply = pairs[phrasing_index(read_context.seed, name, number, len(pairs))]
    question = Message("user", ask.replace("{question}", row["question"]))
    answer = Message("assistant", _fill(reply, row["rationale"], row["answer"]))
    return build_record((question, answer), {"id": f"{name}-{number}", "source": f"cot-{name}"}, number, read_context)


def _fill(reply: str, reasoning: str, answer: str) -> str:
    """Both are filled in at once, because a reasoning may hold the text `{answer}` itself."""
    before, _, after = reply.partition("{chain_of_thought}")
    return before.replace("{answer}", answer) + reasoning + after.replace("{answer}", answer)


READER = Reader(
    "cot-phrased",
    "FLAN's chain of thought in one of several phrasings a row, for the nine sets of the Alpaca-CoT collection.",
    _record,
    rows=READERS[FLAN_READER].rows,
    refines=FLAN_READER,
    accepts=_accepts,
)
