"""Limits of a proof by format, and the verdict.

The limit of the mean KL divergence is `_TOLERANCE` times what llama.cpp publishes for a format on Llama 3 8B
(github.com/ggml-org/llama.cpp, tools/perplexity/README.md, without importance matrix where both are given), and at most
`_MOST_MORE` above it: smaller models lose several times as much by the same rounding (SmolLM2 of 135 million parameters
three times as much by Q8_0 and five times by Q4_0), and a broken export far more than that. The other limits follow
from it. In the same table the share of other top tokens is 0.43 to 0.63 times the root of the divergence (q2_K to
q8_0), and the logarithm of the perplexity ratio is no larger than the divergence. Knows numbers. Knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from camelid_core.errors import UsageError
from camelid_core.statistics import Estimate

from .proof_config import LIMITS

_TOLERANCE, _MOST_MORE = 6.0, 0.5
_OTHER_TOP_TOKENS = 0.65
"""Share of other top tokens per root of the mean KL divergence."""
_LEAST_RATIO = 1.02
"""Perplexity ratio that is always allowed: what a few dozen texts can tell from one."""

_PUBLISHED = {
    "q8_0": 0.001355,
    "q6_k": 0.005452,
    "q5_k_m": 0.010762,
    "q5_k_s": 0.016595,
    "q5_1": 0.018045,
    "q5_0": 0.022239,
    "q4_k_m": 0.031273,
    "q4_k_s": 0.043136,
    "iq4_nl": 0.035742,
    "iq4_xs": 0.036334,
    "q4_1": 0.071683,
    "q4_0": 0.071940,
    "q3_k_l": 0.087176,
    "q3_k_m": 0.101913,
    "iq3_m": 0.102534,
    "iq3_s": 0.111278,
    "iq3_xs": 0.138693,
    "iq3_xxs": 0.183625,
    "q3_k_s": 0.228217,
    "iq2_m": 0.325989,
    "q2_k_s": 0.403360,
    "iq2_s": 0.439197,
    "q2_k": 0.445132,
    "iq2_xs": 0.546290,
    "iq2_xxs": 0.812022,
}
"""Mean KL divergence per token in nats by format."""

_LIKE = {
    "int8": ("q6_k", "8 bits per row with outliers apart, less exact than blocks of 32"),
    "nf4": ("q4_0", "4 bits in blocks of 64 without calibration"),
    "fp4": ("q4_0", "4 bits in blocks of 64 without calibration"),
    "gptq-8": ("q8_0", "8 bits with a scale per group"),
    "gptq-4": ("q4_0", "4 bits with a scale per group"),
    "gptq-3": ("q3_k_s", "3 bits with a scale per group"),
    "gptq-2": ("q2_k_s", "2 bits with a scale per group"),
}
"""Formats without a published table, the one whose limits they have, and why."""

_UNQUANTISED = {
    "float32": (1e-3, "the same numbers, added up by another library"),
    "float16": (1e-3, "rounding alone: llama.cpp publishes 0.00055 for its own storing of float16 results"),
    "bfloat16": (1e-3, "rounding alone: 0.000025 between float16 and bfloat16 of Llama 3 8B"),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Highest mean KL divergence, lowest share of equal top tokens, highest perplexity ratio; and why these."""

    format: str
    kl_mean: float
    top_equal: float
    perplexity_ratio: float
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """One limit against what was measured: `passed` is None where it was not."""

    name: str
    limit: float | None
    estimate: Estimate | None
    passed: bool | None
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "estimate": self.estimate.as_json() if self.estimate else None}


def limits_of(format: str, given: Mapping[str, float]) -> Limits:
    """The limits of a format, those that a person gave in place of its own.

    Raises:
        UsageError: the format has none, and not all were given.
    """
    divergence, reason = _divergence(format)
    if divergence is None:
        if missing := [name for name in LIMITS if name not in given]:
            options = " ".join(f"--limit {name}={value}" for name, value in zip(LIMITS, (0.1, 0.9, 1.1), strict=True))
            raise UsageError(
                f"no limits are known for format {format!r}; give all of them, for example {options} "
                f"(missing: {', '.join(missing)})."
            )
        return Limits(format, given["kl_mean"], given["top_equal"], given["perplexity_ratio"], "given")
    divergence = given.get("kl_mean", divergence)
    own = {
        "kl_mean": divergence,
        "top_equal": round(max(0.0, 1 - _OTHER_TOP_TOKENS * math.sqrt(divergence)), 4),
        "perplexity_ratio": round(max(_LEAST_RATIO, math.exp(divergence)), 4),
    }
    chosen = f"; given: {', '.join(sorted(given))}" if given else ""
    return Limits(format, **{**own, **given}, reason=f"{reason}{chosen}")


def _divergence(format: str) -> tuple[float | None, str]:
    if format in _UNQUANTISED:
        return _UNQUANTISED[format]
    alike, why = _LIKE.get(format, (format, ""))
    published = _PUBLISHED.get(alike)
    if published is None:
        return None, ""
    reason = (
        f"{_TOLERANCE:g} times the {published:g} that llama.cpp publishes for {alike} on Llama 3 8B, and at most "
        f"{_MOST_MORE:g} above it"
    )
    return round(min(_TOLERANCE * published, published + _MOST_MORE), 4), f"{reason} ({why})" if why else reason


def verdict(
    limits: Limits, divergence: Estimate, top_equal: Estimate, log_ratio: Estimate | None, template_equal: bool
) -> list[Check]:
    """Each limit is kept if the whole 95 % interval is within it: a proof shows that an export is good, not merely that
    nothing is known against it. `log_ratio` is the mean difference of losses; None where losses are not known."""
    allowed = math.log(limits.perplexity_ratio)
    return [
        _check("kl_mean", limits.kl_mean, divergence, divergence.ends[1] <= limits.kl_mean, divergence.mean),
        _check("top_equal", limits.top_equal, top_equal, top_equal.ends[0] >= limits.top_equal, top_equal.mean),
        _ratio_check(limits.perplexity_ratio, log_ratio, allowed),
        Check("template", None, None, template_equal, "" if template_equal else "prompts have other token ids"),
    ]


def _check(name: str, limit: float, estimate: Estimate, passed: bool, mean: float) -> Check:
    if passed:
        return Check(name, limit, estimate, True)
    within = mean <= limit if name == "kl_mean" else mean >= limit
    low, high = estimate.ends
    ends = f"{mean:.4g} (95 % interval {low:.4g} to {high:.4g})"
    if within:
        return Check(name, limit, estimate, False, f"{ends} reaches over {limit:.4g}: more rows may tell (--rows)")
    return Check(name, limit, estimate, False, f"{ends}, and {limit:.4g} is the limit")


def _ratio_check(limit: float, log_ratio: Estimate | None, allowed: float) -> Check:
    if log_ratio is None:
        return Check("perplexity_ratio", limit, None, None, "the engine tells too few probabilities to know it")
    ratio = log_ratio.exponential()
    low, high = ratio.ends
    if -allowed <= log_ratio.ends[0] and log_ratio.ends[1] <= allowed:
        return Check("perplexity_ratio", limit, ratio, True)
    ends = f"{ratio.mean:.4g} (95 % interval {low:.4g} to {high:.4g})"
    if abs(log_ratio.mean) <= allowed:
        why = f"{ends} reaches over {limit:.4g} or under {1 / limit:.4g}: more rows may tell (--rows)"
    else:
        why = f"{ends}, and {limit:.4g} is the limit, {1 / limit:.4g} the lowest"
    return Check("perplexity_ratio", limit, ratio, False, why)
