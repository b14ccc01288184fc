"""Sums of errors over labeled pixels, in double precision: they do not depend on batches."""

from __future__ import annotations

import math

from torch import Tensor


class ErrorSums:
    """Of |p - t|, |p - t| / t and (p - t)^2, for labels t above zero."""

    def __init__(self) -> None:
        self.pixels = 0
        self._abs = self._rel = self._squares = 0.0

    def update(self, p: Tensor, t: Tensor) -> None:
        """Take in predictions and labels of labeled pixels, (pixels,), in double precision."""
        error = (p - t).abs()
        self.pixels += len(t)
        self._abs += float(error.sum())
        self._rel += float((error / t).sum())
        self._squares += float(error.square().sum())

    @property
    def abs(self) -> float:
        """Mean |p - t|; NaN without pixels."""
        return self._abs / self.pixels if self.pixels else math.nan

    @property
    def rel(self) -> float:
        """Mean |p - t| / t; NaN without pixels."""
        return self._rel / self.pixels if self.pixels else math.nan

    @property
    def rmse(self) -> float:
        """Root mean square of p - t; NaN without pixels."""
        return math.sqrt(self._squares / self.pixels) if self.pixels else math.nan
