"""A proof as a table: each measure with its interval, its limit, and a bar for how much of the limit it uses.

Knows the results of `camelid prove`. Calls no service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_serve.evaluations.proof.results import introduction, rows, sentence

from camelid_ui.i18n import Translator

from . import Cell, ListingRow, cell, code, error, esc, listing, note, state

_BEST = {"kl_mean": 0.0, "top_equal": 1.0, "perplexity_ratio": 1.0}
"""What each limited measure is where the export equals its source."""
_MEASURES = {
    "mean KL divergence per token": "kl_mean",
    "equal top tokens": "top_equal",
    "perplexity ratio": "perplexity_ratio",
}


def proof(results: Mapping[str, Any], say: Translator) -> str:
    """The table, the verdict, and greedy samples side by side."""
    used = {check["name"]: _used(check) for check in results["limits"]["checks"]}
    heads = [say(f"proof.{head}") for head in ("measure", "value", "interval", "limit", "used")]
    lines = [
        ListingRow(
            [
                Cell(esc(row["measure"]), "main"),
                cell(row["value"], "number"),
                cell(row["95 % interval"], "number quiet"),
                cell(row["limit"], "number quiet"),
                Cell(_bar(used.get(_MEASURES.get(row["measure"], "")))),
            ]
        )
        for row in rows(results)
    ]
    passed = results["passed"]
    verdict = state("succeeded" if passed else "failed", say("proof.passed" if passed else "proof.failed"))
    why = "" if passed else error(sentence(results))
    return verdict + why + note(introduction(results)) + listing(heads, lines, say("proof.caption")) + _samples(
        results, say
    )  # fmt: skip


def _used(check: Mapping[str, Any]) -> float | None:
    """Which share of the way from the best value to the limit was used; None where there is no limit."""
    best, limit, estimate = _BEST.get(check["name"]), check["limit"], check["estimate"]
    if best is None or limit is None or estimate is None or limit == best:
        return None
    return max(0.0, (estimate["mean"] - best) / (limit - best))


def _bar(used: float | None) -> str:
    if used is None:
        return ""
    percent = f"{min(used, 1.0) * 100:.0f}"
    kind = "" if used <= 1 else " over"
    return f'<span class="camelid-mini{kind}"><span style="width:{percent}%"></span></span> {used * 100:.0f} %'


def _samples(results: Mapping[str, Any], say: Translator) -> str:
    parts = []
    for sample in results["samples"]:
        at = sample["differs_at"]
        words = say("proof.equal") if at is None else say("proof.differs", position=at)
        parts.append(f'<p class="camelid-note">{esc(sample["prompt"])} · {esc(words)}</p>')
        parts.append(code(sample["export"], say("proof.export"), say("copy")))
        if at is not None:
            parts.append(code(sample["source"], say("proof.source"), say("copy")))
    return f"<details><summary>{esc(say('proof.samples'))}</summary>{''.join(parts)}</details>" if parts else ""
