"""Text metrics (exact match, numeric match, BLEU, chrF): a number from 0 to 1, or none where one does not apply.

Knows pairs of texts. Knows nothing of files or models.
"""

from .scores import METRICS, Metric, ScoreDifferences, ScoreMeans, available, missing, score

__all__ = ["METRICS", "Metric", "ScoreDifferences", "ScoreMeans", "available", "missing", "score"]
