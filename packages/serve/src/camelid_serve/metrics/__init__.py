"""How near an answer is to a reference: a number from 0 to 1, or none where a metric says nothing of the pair.

Knows pairs of texts. Knows nothing of files or models.
"""

from .scores import METRICS, Means, Metric, available, missing, score

__all__ = ["METRICS", "Means", "Metric", "available", "missing", "score"]
