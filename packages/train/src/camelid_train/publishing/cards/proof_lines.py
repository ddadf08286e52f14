"""Whether a variant was compared with its source, in words: every card says so. Knows `metrics.proof` of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_core.artefacts import Manifest
from camelid_core.statistics import Estimate

NOT_TESTED = "not proved: nobody has compared it with its source"
OVERRIDDEN = "proof_overridden"
"""Key of the manifest's parameters: why a failed proof did not keep it from being published."""


def proof_of(manifest: Manifest) -> Mapping[str, Any]:
    proof = manifest.metrics.get("proof")
    return proof if isinstance(proof, Mapping) else {}


def has_failed(proof: Mapping[str, Any]) -> bool:
    return proof.get("passed") is False


def status(proof: Mapping[str, Any], override: str = "") -> str:
    """One line: the verdict, and what was measured."""
    if not proof:
        return NOT_TESTED
    verdict = "proved" if proof.get("passed") else f"**proof failed** ({_listed(proof.get('failed'))})"
    if override and has_failed(proof):
        verdict += f", published all the same: {override}"
    return "; ".join([verdict, *_measured(proof)])


def _measured(proof: Mapping[str, Any]) -> list[str]:
    found = []
    if (divergence := _number(proof, "kl_mean", "kl_interval")) is not None:
        most = f", at most {proof['kl_max']:.3g}" if proof.get("kl_max") is not None else ""
        found.append(f"KL divergence {divergence}{most}")
    if (equal := _number(proof, "top_equal", "top_equal_interval", share=True)) is not None:
        found.append(f"same top token {equal}")
    if (ratio := _number(proof, "perplexity_ratio", "perplexity_ratio_interval")) is not None:
        found.append(f"perplexity × {ratio}")
    if (tokens := proof.get("n_tokens")) is not None:
        found.append(f"on {tokens:,} tokens of {proof.get('n_texts', '?')} texts")
    if engine := proof.get("engine"):
        speed = f", {proof['tokens_per_second']:.3g} tokens/s" if proof.get("tokens_per_second") else ""
        found.append(f"in {engine}{speed}")
    return found


def _number(proof: Mapping[str, Any], name: str, interval: str, share: bool = False) -> str | None:
    """A measure of the proof with its interval; where the manifest has none, it says so."""
    mean, ends = proof.get(name), proof.get(interval)
    if not isinstance(mean, int | float):
        return None
    low, high = ends if isinstance(ends, list | tuple) and len(ends) == 2 else (None, None)
    return Estimate(mean, low, high, proof.get("n_tokens") or 0, share=share).short


def _listed(failed: Any) -> str:
    return (
        ", ".join(map(str, failed)) if isinstance(failed, list | tuple) and failed else str(failed or "no limit named")
    )
