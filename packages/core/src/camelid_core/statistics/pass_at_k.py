"""pass@k: the probability that one of k answers is right, estimated without bias from n answers of which c are (Chen
et al. 2021, Evaluating Large Language Models Trained on Code, arXiv:2107.03374, equation 1). Knows counts."""

from __future__ import annotations

from math import comb

from camelid_core.errors import UsageError


def pass_at_k(answers: int, right: int, k: int) -> float:
    """Raises:
    UsageError: fewer answers than k, which tell no pass@k.
    """
    if not 0 <= right <= answers or not 1 <= k <= answers:
        raise UsageError(f"pass@{k} takes {k} answers or more to each problem; there are {answers}, {right} right.")
    return 1 - comb(answers - right, k) / comb(answers, k)
