"""Balances that project gradients so that they no longer point against each other.

With rows g_i, <g_i, g_j> their inner products. All but gradvac (which does at first) give the plain sum where no two
rows conflict.

    pcgrad      each row in turn, a copy of it loses its part against every other row that it points against; the copies are added
    gradvac     the same, with the angle that the two had on average in place of a right one
    upgrad      each row is projected onto the dual cone {d: <g_j, d> >= 0 for all j}; the projections are added
    dualproj    the sum of the rows is projected onto the dual cone
"""

from __future__ import annotations

from typing import Literal

import torch

from graphnas.schema import NonNegativeNumber, Share
from graphnas.search.balance.gradients import Aggregator, ByGramian, GradientBalance

_SOLVER = ("qpsolvers", "quadprog")


class UpGrad(GradientBalance):
    """UPGrad: every gradient is projected so that it harms no task to first order; the sum of these (Quinton and Rey 2024).

    arXiv:2406.16232, by torchjd. No task's loss rises in a small enough step of plain descent; an adaptive optimizer does not keep
    that promise. Small gradients count little: the weights of the losses matter.
    """

    type: Literal["upgrad"] = "upgrad"
    regularization: NonNegativeNumber = 1e-8
    """Added to the diagonal of the inner products, which are scaled to a trace of 1; the quadratic program needs some."""

    packages = _SOLVER

    def aggregator(self, rows: int) -> Aggregator:
        from torchjd.aggregation import UPGradWeighting
        from torchjd.linalg import QuadprogProjector

        projector = QuadprogProjector(norm_eps=0.0, reg_eps=self.regularization)
        return ByGramian(UPGradWeighting(torch.ones(rows, dtype=torch.float64), projector))


class DualProj(GradientBalance):
    """DualProj: the sum of the gradients, projected so that it harms no task to first order (Lopez-Paz and Ranzato 2017).

    arXiv:1706.08840, Eq. 11, by torchjd. A large gradient gets its way before the projection, unlike in UPGrad.
    """

    type: Literal["dualproj"] = "dualproj"
    regularization: NonNegativeNumber = 1e-8
    """Added to the diagonal of the inner products, which are scaled to a trace of 1; the quadratic program needs some."""

    packages = _SOLVER

    def aggregator(self, rows: int) -> Aggregator:
        from torchjd.aggregation import DualProjWeighting
        from torchjd.linalg import QuadprogProjector

        projector = QuadprogProjector(norm_eps=0.0, reg_eps=self.regularization)
        return ByGramian(DualProjWeighting(torch.ones(rows, dtype=torch.float64), projector))


class PcGrad(GradientBalance):
    """PCGrad: what points against another task's gradient is taken out of a gradient (Yu et al. 2020).

    arXiv:2001.06782, by torchjd. With three tasks or more the order is drawn at random, and the sum may still conflict with one.
    """

    type: Literal["pcgrad"] = "pcgrad"

    stochastic = True

    def aggregator(self, rows: int) -> Aggregator:
        from torchjd.aggregation import PCGradWeighting

        return ByGramian(PCGradWeighting())


class GradVac(GradientBalance):
    """GradVac: gradients that are less similar than they were on average are turned towards each other (Wang et al. 2021).

    arXiv:2010.05874, by torchjd. The averages are of a set of parameters and of the tasks that have labels in a batch: where these change
    often, each set learns slowly.
    """

    type: Literal["gradvac"] = "gradvac"
    decay: Share = 0.01
    """Share of the newest cosine in its moving average."""

    stochastic = True

    def aggregator(self, rows: int) -> Aggregator:
        from torchjd.aggregation import GradVacWeighting

        return ByGramian(GradVacWeighting(beta=self.decay))
