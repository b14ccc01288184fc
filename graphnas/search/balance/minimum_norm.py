"""Balances that look for the direction in which the task that gains least gains most.

mgda      the shortest vector in the convex hull of the rows
cagrad    maximizes the least gain within the ball of radius c |g| around the mean g of the rows
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from graphnas.schema import NonNegativeNumber, PositiveInt
from graphnas.search.balance.gradients import Aggregator, ByGramian, GradientBalance


class Mgda(GradientBalance):
    """MGDA: the shortest convex combination of the gradients (Désidéri 2012; Sener and Koltun 2018).

    arXiv:1810.04650, algorithm 2, by torchjd. The weights add up to 1, and the result is dominated by the smallest gradient: a task that
    has converged stops the others. What only one loss reaches gets its plain gradient, so shared parts learn slower than heads.
    """

    type: Literal["mgda"] = "mgda"
    iterations: PositiveInt = 100
    """At most, of the Frank-Wolfe solver, which is exact for two tasks and closes in slowly with more."""

    def aggregator(self, rows: int) -> Aggregator:
        from torchjd.aggregation import MGDAWeighting

        return ByGramian(MGDAWeighting(epsilon=1e-6, max_iters=self.iterations))


class CaGrad(GradientBalance):
    """CAGrad: near the mean gradient, the direction in which the worst task gains most (Liu et al. 2021).

    arXiv:2110.14048, by torchjd; times the number of tasks, so that ``c: 0`` is the plain sum. Solves a small convex program a step.
    """

    type: Literal["cagrad"] = "cagrad"
    c: NonNegativeNumber = 0.4
    """Radius of the ball, as a share of the mean gradient's length; MGDA's direction as it grows."""

    packages = ("cvxpy", "clarabel")

    def aggregator(self, rows: int) -> Aggregator:
        return ByGramian(_CaGradWeighting(self.c), factor=rows)


class _CaGradWeighting(nn.Module):
    """torchjd's, whose solver raises errors of a kind of its own."""

    def __init__(self, c: float) -> None:
        from torchjd.aggregation import CAGradWeighting

        super().__init__()
        self.weighting = CAGradWeighting(c=c, norm_eps=1e-12)

    def forward(self, gramian: Tensor) -> Tensor:
        from cvxpy.error import SolverError

        try:
            weights = self.weighting(gramian)
        except SolverError as error:
            raise ValueError(str(error)) from error
        if not bool(torch.isfinite(weights).all()):
            raise ValueError("the solver found no solution")
        return weights
