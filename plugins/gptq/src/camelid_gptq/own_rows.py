"""How many tokens a model's training data have, as its manifest tells, and how many calibration rows that makes.

Knows manifests of runs. Reads no data: what it says is about right, and the job counts.
"""

from __future__ import annotations

from camelid_core.artefacts import Manifest

from .section import GptqSection

_USED = 0.9
"""Of the tokens that there are about: what is left over at the ends of rows is not used."""
_SHORTEST = 128


def own_tokens(manifest: Manifest | None) -> int | None:
    """Tokens of the rows that a model was trained on; None where its manifest does not tell."""
    if manifest is None:
        return None
    metrics, train = manifest.metrics, manifest.parameters.get("train") or {}
    processes = (manifest.parameters.get("launch") or {}).get("processes", 1)
    seen = metrics.get("steps", 0) * train.get("batch_size", 0) * train.get("accumulation", 1) * processes
    rows, tokens = sum(use.rows for use in manifest.datasets), metrics.get("total_tokens")
    return round(tokens * rows / seen) if seen and rows and tokens else None


def rows_that_fit(tokens: int, seqlen: int) -> tuple[int, int]:
    """Number and length of rows that so many tokens give: as many as are usual, and of at most `seqlen` tokens."""
    usual = GptqSection.model_fields["rows"].default
    while seqlen > _SHORTEST and _USED * tokens < usual * seqlen:
        seqlen //= 2
    return max(1, min(usual, int(_USED * tokens) // seqlen)), seqlen


def shortage(manifest: Manifest | None, section: GptqSection) -> str:
    """Why the training data cannot give the rows that a section asks for, as a sentence; empty where they can."""
    tokens, asked = own_tokens(manifest), section.rows * section.seqlen
    if tokens is None or tokens >= asked:
        return ""
    rows, seqlen = rows_that_fit(tokens, section.seqlen)
    return (
        f"its training data have about {tokens:,} tokens, and rows={section.rows:,} of seqlen={section.seqlen:,} take "
        f"{asked:,}. Ask for rows={rows} seqlen={seqlen}, or name a larger set in calibration."
    )
