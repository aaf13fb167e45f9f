"""Whether a row of figures grows: a leak, or the noise of a system that works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FLAT_WITHIN = 0.05
"""Memory may end that share above where it began."""
_COUNTS_WITHIN = 0.05
_COUNTS_MORE = 2.0
"""Files and threads come and go with requests: so many more in the median are no growth."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How figures moved: medians of the first and the last quarter, and the line through all of them by Theil and Sen.

    ``by_line`` is what that line rises over the whole stretch, in the figures' unit.
    """

    first: float
    last: float
    by_line: float
    largest: float

    @property
    def change(self) -> float:
        """Share by which the last quarter lies above the first."""
        return (self.last - self.first) / self.first if self.first else 0.0

    @property
    def line_change(self) -> float:
        return self.by_line / self.first if self.first else 0.0

    def is_flat(self, within: float = FLAT_WITHIN) -> bool:
        """By both measures. Falling is no leak."""
        return self.change <= within and self.line_change <= within

    def is_steady_count(self) -> bool:
        return self.last - self.first <= max(_COUNTS_MORE, _COUNTS_WITHIN * self.first)


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """``times`` ascend; at least four of them."""
    t, v = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    quarter = max(1, len(v) // 4)
    return Trend(
        first=float(np.median(v[:quarter])),
        last=float(np.median(v[-quarter:])),
        by_line=theil_sen(times, values) * float(t[-1] - t[0]),
        largest=float(v.max()),
    )


def theil_sen(times: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs (Sen 1968, "Estimates of the Regression Coefficient Based on Kendall's
    Tau", Journal of the American Statistical Association 63): a few wild figures do not move it."""
    t, v = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(len(t), k=1)
    apart = t[second] - t[first]
    slopes = (v[second] - v[first])[apart > 0] / apart[apart > 0]
    return float(np.median(slopes)) if len(slopes) else 0.0
