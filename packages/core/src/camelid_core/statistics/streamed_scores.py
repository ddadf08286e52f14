"""Estimates over any number of rows, of which only sums are kept: scores of a file of a million answers.

Knows independent rows one after the other. Where rows share a source or a passage, take `scores`.
"""

from __future__ import annotations

import math

from .estimate import Difference, Estimate


class ScoreSums:
    """Scores of one model, or paired differences of two: added one by one."""

    def __init__(self) -> None:
        self.count = self._positive = self._negative = 0
        self._mean = self._squares = 0.0
        self._whole = True  # all are -1, 0 or 1

    def add(self, value: float) -> None:
        """Welford's update, which loses no digits."""
        self.count += 1
        self._positive += value > 0
        self._negative += value < 0
        self._whole &= value in (-1.0, 0.0, 1.0)
        step = value - self._mean
        self._mean += step / self.count
        self._squares += step * (value - self._mean)

    def estimate(self, share: bool = True) -> Estimate:
        """Of scores.

        Raises:
            ZeroDivisionError: nothing was added.
        """
        import numpy as np

        from .cluster_sums import critical
        from .shares import score_interval

        mean = self._total / self.count
        if self._whole and not self._negative:
            low, high = score_interval(mean, self.count, critical(np.inf))
        elif self.count == 1:
            return Estimate(mean, None, None, 1, share=share)
        else:
            arm = float(critical(self.count - 1)) * self._stderr
            low, high = mean - arm, mean + arm
        return Estimate(mean, float(low), float(high), self.count, share=share)

    def difference(self, share: bool = True) -> Difference:
        """Of differences."""
        import numpy as np

        from .cluster_sums import Moments, critical, two_sided_p
        from .power import rows_needed
        from .shares import exact_p, paired_interval

        mean = self._total / self.count
        if self.count == 1:
            return Difference(mean, None, None, 1, share=share)
        more = rows_needed(self._stderr**2 * self.count, abs(mean))
        if self._whole:
            low, high = paired_interval(self._positive, self._negative, self.count, critical(np.inf))
            p = exact_p(self._positive, self._negative)
        else:
            arm = float(critical(self.count - 1)) * self._stderr
            low, high = mean - arm, mean + arm
            p = float(two_sided_p(Moments(mean, self._stderr**2, self.count - 1)))
        return Difference(mean, float(low), float(high), self.count, share=share, p=p, rows_needed=more)

    @property
    def _total(self) -> float:
        """The sum, exact for whole numbers."""
        return self._positive - self._negative if self._whole else self._mean * self.count

    @property
    def _stderr(self) -> float:
        return math.sqrt(self._squares / (self.count - 1) / self.count)
