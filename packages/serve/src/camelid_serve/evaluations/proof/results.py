"""What was compared → results as JSON, metrics for a manifest, a small Markdown table, and a sentence.

Knows numbers and words. Knows no model. Results tell no paths and no rows of anybody's data: they are published with
the export.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from camelid_core.statistics import CONFIDENCE, Estimate

if TYPE_CHECKING:
    from camelid_serve.evaluations.greedy_answers import GreedyAnswer

    from .comparison import Comparison, Side, TextComparison
    from .format_limits import Check


def divergence_kind(comparison: Comparison, top: int) -> str:
    """Of what the KL divergence is."""
    if comparison.source.whole and comparison.export.whole:
        return "whole distributions"
    return f"the {top} likeliest tokens, all others lumped into one: no more than the whole divergence"


def estimates(texts: Sequence[TextComparison]) -> dict[str, Estimate | None]:
    """Mean divergence, share of equal top tokens, losses of both, and the mean difference of losses (None: unknown)."""
    from camelid_core.statistics.scores import estimate_of_sums

    counts = [text.tokens for text in texts]
    losses = [(text.source_loss, text.loss) for text in texts]
    ours = [one for one, _ in losses if one is not None]
    theirs = [two for _, two in losses if two is not None]
    known = len(ours) == len(theirs) == len(texts)
    differences = [two - one for one, two in zip(ours, theirs, strict=True)] if known else []
    return {
        "divergence": estimate_of_sums([text.divergence for text in texts], counts),
        "top_equal": estimate_of_sums([text.equal for text in texts], counts, share=True),
        "source_loss": estimate_of_sums(ours, counts) if len(ours) == len(texts) else None,
        "loss": estimate_of_sums(theirs, counts) if len(theirs) == len(texts) else None,
        "log_ratio": estimate_of_sums(differences, counts) if known else None,
    }


def exponential(loss: Estimate | None) -> dict[str, Any] | None:
    """exp of a mean loss or difference of losses, with the interval that goes with it."""
    return None if loss is None else loss.exponential().as_json()


def samples(
    prompts: Sequence[str], source: Sequence[GreedyAnswer], export: Sequence[GreedyAnswer], decode: Callable[..., str]
) -> list[dict[str, Any]]:
    """Greedy answers side by side; `differs_at` is the first position where they do, None where they are equal."""
    from camelid_serve.evaluations.greedy_answers import first_difference

    return [
        {
            "prompt": prompt,
            "source": decode([token for token in ours.tokens if token is not None]),
            "export": decode([token for token in theirs.tokens if token is not None]),
            "tokens": len(ours.tokens),
            "differs_at": first_difference(ours.tokens, theirs.tokens),
        }
        for prompt, ours, theirs in zip(prompts, source, export, strict=True)
    ]


def side_json(side: Side, **more: Any) -> dict[str, Any]:
    """One model: what it is, how fast its engine generates and reads, and of how many tokens that was measured."""
    return {
        **more,
        "tokens_per_second": _rounded(side.generation_speed),
        "generated_tokens": side.generated,
        "scoring_tokens_per_second": _rounded(side.scoring_speed),
        "scored_tokens": side.read,
    }


def metrics(results: Mapping[str, Any]) -> dict[str, Any]:
    """The short form that the export's manifest keeps as `metrics.proof`."""
    divergence, equal, ratio = results["divergence"], results["top_equal"], results["perplexity_ratio"]
    perplexities = results["perplexity"]
    return {
        "passed": results["passed"],
        "failed": results["failed"],
        "against": {"name": results["source"]["name"], "fingerprint": results["source"]["fingerprint"]},
        "n_texts": results["text"]["n_texts"],
        "n_tokens": results["text"]["n_tokens"],
        "kl_mean": divergence["mean"],
        "kl_interval": _ends(divergence),
        "kl_max": divergence["max"],
        "kl_of": divergence["of"],
        "top_equal": equal["mean"],
        "top_equal_interval": _ends(equal),
        "perplexity": perplexities["export"] and perplexities["export"]["mean"],
        "perplexity_interval": perplexities["export"] and _ends(perplexities["export"]),
        "perplexity_source": perplexities["source"] and perplexities["source"]["mean"],
        "perplexity_source_interval": perplexities["source"] and _ends(perplexities["source"]),
        "perplexity_ratio": ratio and ratio["mean"],
        "perplexity_ratio_interval": ratio and _ends(ratio),
        "template_equal": results["template"]["equal"],
        "format": results["export"]["format"],
        "size": results["export"]["size"],
        "tokens_per_second": results["export"]["tokens_per_second"],
        "engine": results["export"]["engine"],
    }


def rows(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """The table: a row per measure, each with its interval and its limit."""
    checks = {check["name"]: check for check in results["limits"]["checks"]}
    divergence, template = results["divergence"], results["template"]
    source, export = results["source"], results["export"]
    return [
        _row("mean KL divergence per token", _number(divergence), divergence, checks["kl_mean"], "≤"),
        _row("largest KL divergence", f"{divergence['max']:.4g}"),
        _row("equal top tokens", _share(results["top_equal"]), results["top_equal"], checks["top_equal"], "≥", _share),
        _row("perplexity of the source", _number(results["perplexity"]["source"]), results["perplexity"]["source"]),
        _row("perplexity of the export", _number(results["perplexity"]["export"]), results["perplexity"]["export"]),
        _row(
            "perplexity ratio",
            _number(results["perplexity_ratio"]),
            results["perplexity_ratio"],
            checks["perplexity_ratio"],
            "≤",
        ),
        _row(
            "equal prompts",
            f"{template['compared'] - len(template['differences'])} of {template['compared']}",
            check=checks["template"],
        ),
        _row("size in bytes", f"{export['size']:,} of {source['size']:,}"),
        _row("weights against estimate", _estimated(export)),
        _row("generated tokens/s", _speeds(source, export, "tokens_per_second")),
        _row("scored tokens/s", _speeds(source, export, "scoring_tokens_per_second")),
    ]


def markdown(results: Mapping[str, Any]) -> str:
    """The section of a card: a sentence, the table, the verdict, and what was left out."""
    table = rows(results)
    heads = list(table[0])
    lines = [
        "## Proof",
        "",
        introduction(results),
        "",
        f"| {' | '.join(heads)} |",
        f"| {' | '.join('---' for _ in heads)} |",
        *(f"| {' | '.join(_cell(value) for value in row.values())} |" for row in table),
        "",
        f"**{sentence(results)}**",
        "",
        f"Limits: {results['limits']['reason']}. Intervals: {CONFIDENCE:.0%}, clustered by text.",
        *(["", *(f"- {note}" for note in results["text"]["notes"])] if results["text"]["notes"] else []),
    ]
    return "\n".join(lines) + "\n"


def introduction(results: Mapping[str, Any]) -> str:
    """What was compared with what, and on how much."""
    text, source, export = results["text"], results["source"], results["export"]
    return (
        f"{export['name']} ({export['format']}, engine {export['engine']}) compared with {source['name']} "
        f"({source['format']}, engine {source['engine']}, {source['dtype']}) on {text['n_tokens']:,} tokens of "
        f"{text['n_texts']:,} texts ({text['name']}). KL divergence of {results['divergence']['of']}."
    )


def sentence(results: Mapping[str, Any]) -> str:
    """The verdict and, where it failed, at which limits and why."""
    if results["passed"]:
        return "Passed: the export does as its source does, within all limits."
    reasons = [
        f"{check['name']}: {check['reason']}" for check in results["limits"]["checks"] if check["passed"] is False
    ]
    return f"Failed at {'; '.join(reasons)}."


def checks_json(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [check.as_json() for check in checks]


def _row(
    measure: str,
    value: str,
    interval: Mapping[str, float] | None = None,
    check: Mapping[str, Any] | None = None,
    sign: str = "",
    form: Callable[[Mapping[str, float]], str] | None = None,
) -> dict[str, str]:
    write = form or _number
    ends = "" if interval is None else f"{write({'mean': interval['low']})} to {write({'mean': interval['high']})}"
    limit = "" if check is None or check["limit"] is None else f"{sign} {write({'mean': check['limit']})}"
    outcome = "" if check is None else {True: "passed", False: "failed", None: "not measured"}[check["passed"]]
    return {"measure": measure, "value": value, "95 % interval": ends, "limit": limit, "verdict": outcome}


def _ends(value: Mapping[str, float]) -> list[float]:
    return [value["low"], value["high"]]


def _number(value: Mapping[str, float] | None) -> str:
    return "–" if value is None else f"{value['mean']:.4g}"


def _share(value: Mapping[str, float]) -> str:
    return f"{100 * value['mean']:.2f} %"


def _estimated(export: Mapping[str, Any]) -> str:
    if export["estimated_size"] is None:
        return "no estimate in the manifest"
    return f"{export['weights_size']:,} of {export['estimated_size']:,}"


def _speeds(source: Mapping[str, Any], export: Mapping[str, Any], name: str) -> str:
    ours, theirs = ("–" if side[name] is None else f"{side[name]:,.4g}" for side in (source, export))
    return f"{theirs}, source {ours}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
