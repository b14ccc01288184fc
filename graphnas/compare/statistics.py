"""Means, paired differences and their uncertainty: Student's t, and Holm's correction for many comparisons.

Student's t distribution is the regularized incomplete beta function::

    P(|T| >= t) = I_x(df / 2, 1 / 2),   x = df / (df + t^2)

which is computed by its continued fraction (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.5.8), to about 14 digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95
"""Of intervals, where nothing else is asked for; what is significant has a corrected p below what it lacks to 1."""


@dataclass(frozen=True)
class Estimate:
    """A mean and how sure it is.

    Args:
        mean: Of the values.
        low: Lower end of the t interval; ``None`` with fewer than two values.
        high: Its upper end.
        p: Two-sided p of the t test that the mean is zero; ``None`` with fewer than two values.
        n: Number of values.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    n: int

    @property
    def half(self) -> float | None:
        """Half of the interval."""
        return None if self.low is None else self.mean - self.low


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The mean of values, with Student's t interval and test.

    For paired comparisons the values are the differences of the pairs.

    Args:
        values: One or more.
        confidence: Of the interval.
    """
    mean, n = fmean(values), len(values)
    if n < 2:
        return Estimate(mean, None, None, None, n)
    error = stdev(values) / math.sqrt(n)
    half = t_quantile((1 + confidence) / 2, n - 1) * error
    alike = float(mean == 0)
    return Estimate(mean, mean - half, mean + half, t_two_sided(mean / error, n - 1) if error else alike, n)


def holm(ps: Sequence[float]) -> list[float]:
    """P-values corrected for their number: Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.

    The k-th smallest of m (k from 0) is multiplied with m - k, and none becomes smaller than one before it.
    """
    corrected = [0.0] * len(ps)
    most = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        most = max(most, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = most
    return corrected


def t_two_sided(t: float, df: int) -> float:
    """P(|T| >= |t|) of Student's t with ``df`` degrees of freedom."""
    return _incomplete_beta(df / (df + t * t), t * t / (df + t * t), df / 2, 0.5)


def t_quantile(probability: float, df: int) -> float:
    """The t below which Student's t is with this probability, 0.5 or more and less than 1: by bisection of the tail."""
    tail = 2 * (1 - probability)
    low, high = 0.0, 1.0
    while t_two_sided(high, df) > tail:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        if t_two_sided(middle, df) > tail:
            low = middle
        else:
            high = middle
    return high


def _incomplete_beta(x: float, rest: float, a: float, b: float) -> float:
    """I_x(a, b), the regularized incomplete beta function; ``rest`` is 1 - x, which may be too small to be seen beside x."""
    if x == 0 or rest == 0:
        return float(rest == 0)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(rest, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction, from its front (Lentz's method)."""
    tiny = 1e-300
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1), tiny)
    value = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _off_zero(1 + term * d, tiny)
            c = _off_zero(1 + term / c, tiny)
            value *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return value


def _off_zero(value: float, tiny: float) -> float:
    return tiny if abs(value) < tiny else value
