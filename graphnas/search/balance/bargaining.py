"""Balances that see the step as something that the tasks bargain for.

With G the inner products of the rows, the weights w solve

    nash_mtl    G w = 1 / w                  (Nash's bargaining solution)
    fairgrad    G w = w ** (-1 / fairness)   (fairness 1: nash_mtl)
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from graphnas.schema import NonNegativeNumber, PositiveNumber
from graphnas.search.balance.gradients import Aggregator, ByGramian, GradientBalance


class NashMtl(GradientBalance):
    """Nash-MTL: the tasks' bargaining solution, in which weight times gain is the same for all (Navon et al. 2022).

    arXiv:2202.01017. The lengths of gradients do not matter, so weights of the losses do not either. Of our own: the authors' sequence of
    convex programs, which torchjd has, now and then ends at weights that solve nothing; Newton's method on the equation does not.
    """

    type: Literal["nash_mtl"] = "nash_mtl"
    max_norm: NonNegativeNumber = 1.0
    """Largest length of the result, which else is the root of the number of tasks; 0: any."""

    def aggregator(self, rows: int) -> Aggregator:
        return ByGramian(Bargain(1.0, self.max_norm), normalized=False)


class FairGrad(GradientBalance):
    """FairGrad: gains of the tasks that are fair in the sense of resource allocation (Ban and Ji 2024).

    arXiv:2402.15638, Eq. 4. The smaller the gradients, the longer the result: clip it where that matters. Of our own: the least squares by
    which the authors and torchjd solve the equation stop short of a solution where lengths of gradients differ much.
    """

    type: Literal["fairgrad"] = "fairgrad"
    fairness: PositiveNumber = 2.0
    """1: as nash_mtl, without its bound; the larger, the more the task that gains least counts."""

    def aggregator(self, rows: int) -> Aggregator:
        return ByGramian(Bargain(1 / self.fairness), normalized=False)


class Bargain(nn.Module):
    """G w = w ** -power: the minimum of a strictly convex function of w > 0, by Newton's method with backtracking.

    With lengths d and cosines C, v = d w solves C v = p v ** -power for p = d ** (power - 1): this is the minimum of
    v C v / 2 - sum p v ** (1 - power) / (1 - power), or of v C v / 2 - sum p log v at power 1. A little is added to the diagonal of C,
    without which there is no minimum for gradients that cancel.

    Args:
        power: More than 0.
        max_norm: Largest length of the result; 0: any.
    """

    REGULARIZATION = 1e-7
    STEPS = 500

    def __init__(self, power: float, max_norm: float = 0.0) -> None:
        super().__init__()
        self._power = power
        self._max_norm = max_norm

    def forward(self, gramian: Tensor, preferences: Tensor | None = None) -> Tensor:
        """(m, m) -> (m,); preferences: (m,), what the right side is multiplied with, 1 if left out."""
        lengths = gramian.diagonal().sqrt()
        cosines = gramian / torch.outer(lengths, lengths)
        cosines.diagonal().add_(self.REGULARIZATION)
        shares = lengths ** (self._power - 1) * (1.0 if preferences is None else preferences)
        weights = self._solved(cosines, shares) / lengths
        length = float((weights @ gramian @ weights).clamp(min=0).sqrt())
        return weights * (self._max_norm / length) if 0 < self._max_norm < length else weights

    def _solved(self, cosines: Tensor, shares: Tensor) -> Tensor:
        point = shares ** (1 / (1 + self._power))  # the solution where all cosines are 0
        for _ in range(self.STEPS):
            slope = cosines @ point - shares * point**-self._power
            curvature = cosines + torch.diag(self._power * shares * point ** (-self._power - 1))
            step = cast("Tensor", torch.linalg.solve(curvature, slope))  # pyright: ignore[reportUnknownMemberType]
            if bool((step.abs() <= 1e-5 * point).all()):  # so near that one more step squares the error
                return point - step
            point = self._searched(cosines, shares, point, step, float(slope @ step))
        raise ValueError(f"no solution after {self.STEPS} steps")

    def _searched(self, cosines: Tensor, shares: Tensor, point: Tensor, step: Tensor, fall: float) -> Tensor:
        """The first of the steps 1, 1/2, 1/4, ... that stays positive and lowers the function by a tenth of what it promises."""
        before, size = self._value(cosines, shares, point), 1.0
        while size > 1e-12:
            after = point - size * step
            if bool((after > 0).all()) and self._value(cosines, shares, after) <= before - 0.1 * size * fall + 1e-15 * abs(before):
                return after
            size /= 2
        raise ValueError("no step lowers the function any more")

    def _value(self, cosines: Tensor, shares: Tensor, point: Tensor) -> float:
        gains = point.log() if self._power == 1 else point ** (1 - self._power) / (1 - self._power)
        return float(point @ cosines @ point / 2 - (shares * gains).sum())
