"""Whether a variant was compared with its source, in words: every card says so. Knows `metrics.proof` of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_core.artefacts import Manifest

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
    if (mean := proof.get("kl_mean")) is not None:
        error = f" ± {proof['kl_stderr']:.2g}" if proof.get("kl_stderr") is not None else ""
        most = f", at most {proof['kl_max']:.3g}" if proof.get("kl_max") is not None else ""
        found.append(f"KL divergence {mean:.3g}{error}{most}")
    if (equal := proof.get("top_equal")) is not None:
        found.append(f"same top token {100 * equal:.1f} %")
    if (ratio := proof.get("perplexity_ratio")) is not None:
        found.append(f"perplexity × {ratio:.4g}")
    if (tokens := proof.get("n_tokens")) is not None:
        found.append(f"on {tokens:,} tokens of {proof.get('n_texts', '?')} texts")
    if engine := proof.get("engine"):
        speed = f", {proof['tokens_per_second']:.3g} tokens/s" if proof.get("tokens_per_second") else ""
        found.append(f"in {engine}{speed}")
    return found


def _listed(failed: Any) -> str:
    return (
        ", ".join(map(str, failed)) if isinstance(failed, list | tuple) and failed else str(failed or "no limit named")
    )
