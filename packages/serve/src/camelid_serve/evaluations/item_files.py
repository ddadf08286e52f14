"""Results item by item as JSON Lines: written by one evaluation of one model, read to compare any two, or to take
several seeds of one training together. Knows files and ids; computes no statistics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from camelid_core.errors import DataError
from camelid_core.statistics.scores import Scores

from camelid_serve.json_lines import to_json_line

from .evaluation import Item

FOLDER = "items"


def item_file(directory: Path, evaluation: str, model: str) -> Path:
    """Where the items of one evaluation and one model are."""
    return directory / FOLDER / _plain(evaluation) / f"{_plain(model)}.jsonl"


def write_items(path: Path, items: Sequence[Item], results: Mapping[int, Mapping[str, Any]]) -> None:
    """A line for each item: id, cluster and group, the last question, the right answer, what the model answered and its
    scores, or why it did not answer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for number, item in enumerate(items):
            result = results.get(number, {"error": "not answered: the job was asked to finish early."})
            about = {"id": item.id, "cluster": item.cluster, "group": item.group, "gold": item.gold}
            asked = [message.text for message in item.prompts[0] if message.role == "user"]
            file.write(to_json_line({**about, "question": asked[-1] if asked else "", **result}))


def read_items(path: Path) -> list[dict[str, Any]]:
    """The lines of such a file.

    Raises:
        DataError: it is damaged.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [row for row in rows if isinstance(row["id"], str)]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{str(path)!r} is no file of items with ids; score the model again.") from None


def scores_in(seeds: Sequence[Iterable[Mapping[str, Any]]], measure: str, share: bool) -> Scores | None:
    """The scores of one model, or of one arm trained with several seeds, on the items that all of them have; None where
    there are none."""
    by_seed = [
        {row["id"]: row["scores"][measure] for row in rows if measure in row.get("scores", {})} for rows in seeds
    ]
    common = [name for name in by_seed[0] if all(name in each for each in by_seed[1:])]
    if not common:
        return None
    clusters = {row["id"]: row.get("cluster") or "" for row in seeds[0]}
    return Scores.of({name: [each[name] for each in by_seed] for name in common}, clusters, share)


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
