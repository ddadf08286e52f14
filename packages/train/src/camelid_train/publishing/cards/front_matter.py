"""The YAML at the head of a card. Knows huggingface_hub's model cards; knows no field's meaning.

Format: huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def with_fields(card: str, fields: Mapping[str, Any]) -> str:
    """`card` with these fields at its head, in alphabetical order. Fields of others stay; a head that says the same
    already is left byte for byte.

    Raises:
        ValueError: the head is no YAML mapping.
    """
    from huggingface_hub.repocard import RepoCard

    card = card if card.startswith("---") else f"---\n{{}}\n---\n{card}"  # else a line in the text is taken for one
    parsed = RepoCard(card)
    found = parsed.data.to_dict()
    wanted = {**{name: value for name, value in found.items() if name not in fields}, **fields}
    if found == wanted and found:
        return card
    return f"---\n{_yaml(dict(sorted(wanted.items())))}\n---\n{parsed.text}"


def _yaml(fields: dict[str, Any]) -> str:
    """As huggingface_hub writes it; where that loses something (PyYAML folds rare line ends away), with all but ASCII
    escaped, which loses nothing."""
    from huggingface_hub.repocard_data import CardData

    text = CardData(**fields).to_yaml()
    return text if yaml.safe_load(text) == fields else yaml.safe_dump(fields, sort_keys=False, width=120).strip()


def fields_of(card: str) -> dict[str, Any]:
    """The fields at a card's head; none where there is no head, or none that can be read."""
    from huggingface_hub.repocard import RepoCard

    try:
        return dict(RepoCard(card).data.to_dict()) if card.startswith("---") else {}
    except Exception:  # YAML's errors and its own: a card that somebody broke
        return {}


def without_head(card: str) -> str:
    """The card's text alone."""
    from huggingface_hub.repocard import RepoCard

    try:
        return RepoCard(card).text if card.startswith("---") else card
    except Exception:  # a broken head is text
        return card
