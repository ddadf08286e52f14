"""Licences as programs read them: identifiers, what holds for a combination, and whether commercial use is excluded.

Identifiers are those of SPDX (spdx.org/licenses) in lower case, as on the Hugging Face Hub; several that hold at once
are joined by AND, as in SPDX expressions. Knows the terms of the services whose output became training data. Knows no
model and no dataset, and gives no legal advice: what is in none of its tables is `unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import yaml

UNKNOWN: Final = "unknown"
NonCommercial = bool | Literal["unknown"]
"""Whether commercial use is excluded."""

_AND = " AND "
_COMMERCIAL = re.compile(
    r"""( apache | mit | bsd | cc0 | cc-by (-sa|-nd)? | odc-by | odbl | pddl | cdla | [al]?gpl | gfdl | mpl | isc | zlib
      | unlicense | wtfpl | afl | ecl | epl | eupl | ms-pl | bsl | ncsa | postgresql
      | ((bigscience|bigcode|creativeml) -)? (openrail (\+\+|-m)? | bloom-rail) | llama[234] (\.\d)? | gemma
    ) (-[\d.]+ | -only | -or-later | -clause | -sharing | -permissive | -clear)*""",
    re.VERBOSE,
)
"""Licences that allow commercial use, some under conditions."""
_NON_COMMERCIAL = re.compile(r"(.+-)?(nc|noncommercial|non-commercial|research-only)(-.+)?|llama1?|opt-175b")
"""Licences that exclude it. `llama` is the first LLaMA's, for research alone."""
_WRITTEN = {"apache2": "apache-2.0", "apache-2": "apache-2.0", "gplv3": "gpl-3.0", "gplv2": "gpl-2.0", "cc0": "cc0-1.0"}
_OPENAI = "openai-terms-of-use"
_GENERATORS = {
    _OPENAI: r"gpt|davinci|openai|\bo[134](-mini)?\b",
    "anthropic-terms-of-service": r"claude|anthropic",
    "google-generative-ai-terms": r"gemini|\bbard\b|\bpalm\b",
}
"""Terms under which an answer of a service may be used, and how a dataset's makers name the service."""
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---", re.DOTALL)
_MAX_CARD_BYTES = 65_536


def licence_id(text: str) -> str:
    """The identifier of a licence as people write it: "CC BY-NC 4.0" is `cc-by-nc-4.0`, nothing is `unknown`.

    An expression of several keeps its parts; what is in no table stays as it is written.
    """
    return _AND.join(_one_id(part) for part in re.split(r"\s+AND\s+", text.strip())) if text.strip() else UNKNOWN


def combined(licences: Iterable[str]) -> str:
    """The expression for all of them at once: never the most permissive of several. Unknown parts stay in it."""
    parts = {part for text in licences for part in licence_id(text).split(_AND)}
    return _AND.join(sorted(parts, key=lambda part: (part == UNKNOWN, part))) or UNKNOWN


def non_commercial(licence: str) -> NonCommercial:
    """Whether an expression excludes commercial use: any part does, or `unknown` as long as a part is in no table."""
    parts = licence_id(licence).lower().split(_AND.lower())
    if any(_NON_COMMERCIAL.fullmatch(part) for part in parts):
        return True
    return False if all(_COMMERCIAL.fullmatch(part) for part in parts) else UNKNOWN


def in_words(licence: str) -> str:
    """The licence as it is shown to people: with what its identifier may not tell them."""
    return f"{licence} (no commercial use)" if non_commercial(licence) is True else licence


def generator_terms(made_by: str) -> list[str]:
    """The terms of the services that wrote a dataset's answers, as its makers name them in `made_by`."""
    return [terms for terms, names in _GENERATORS.items() if re.search(names, made_by.lower())]


def stated_licence(directory: Path) -> str:
    """The licence in the front matter of a model's README.md, `unknown` without one.

    `license: other` has a name of its own, `license_name` (huggingface.co/docs/hub/model-cards).
    """
    try:
        with (directory / "README.md").open(encoding="utf-8", errors="replace") as card:
            head = _FRONT_MATTER.match(card.read(_MAX_CARD_BYTES))
    except OSError:
        return UNKNOWN
    try:
        stated = yaml.safe_load(head[1]) if head else {}
    except (yaml.YAMLError, RecursionError):
        return UNKNOWN
    licence = stated.get("license") if isinstance(stated, dict) else None
    if licence == "other":
        licence = stated.get("license_name")
    return combined(str(each) for each in (licence if isinstance(licence, list) else [licence]) if each)


def _one_id(text: str) -> str:
    word = re.sub(r"[\s_,]+", "-", re.sub(r"\b(the|licen[cs]e|version|v(?=\d))\b", " ", text.strip().lower()).strip())
    word = re.sub(r"-v?(?=\d)", "-", word)
    word = _WRITTEN.get(word, word)
    return word if _COMMERCIAL.fullmatch(word) or _NON_COMMERCIAL.fullmatch(word) or word == UNKNOWN else text.strip()
