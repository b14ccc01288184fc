"""Balances in which the primary comes first, made for auxiliary tasks.

gcs    the primary's gradient, and those of the auxiliaries that do not point against it
pcd    as near to the primary's gradient as it gets while every auxiliary makes a share of the progress that it could
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from torch import Tensor, nn

from graphnas.schema import NonNegativeNumber, Share, error_at, refuse
from graphnas.search.balance.gradients import Aggregator, ByGramian, GradientBalance


class Gcs(GradientBalance):
    """Gradient cosine similarity: an auxiliary's gradient counts only where its cosine with the primary's is not negative (Du et al. 2018).

    arXiv:1812.02224, of our own. One cosine for all parameters that the same losses reach. It removes what conflicts in one step; an
    auxiliary that agrees and still leads astray passes.
    """

    type: Literal["gcs"] = "gcs"
    gate: Literal["sign", "cosine"] = "sign"
    """sign: all of it or nothing; cosine: times the cosine, if positive."""

    asymmetric = True

    def aggregator(self, rows: int) -> Aggregator:
        return ByGramian(_Gate(by_cosine=self.gate == "cosine"))


class _Gate(nn.Module):
    def __init__(self, *, by_cosine: bool) -> None:
        super().__init__()
        self._by_cosine = by_cosine

    def forward(self, gramian: Tensor) -> Tensor:
        lengths = gramian.diagonal().sqrt()
        cosines = gramian[0] / (lengths[0] * lengths)
        weights = cosines.clamp(min=0) if self._by_cosine else (cosines >= 0).double()
        weights[0] = 1.0
        return weights


class Pcd(GradientBalance):
    """PCD: priority-constrained descent, the primary's gradient corrected as little as needed (TMLR 2026).

    arXiv:2606.29521, by torchjd. The result is as long as the primary's gradient, so weights of the losses do not matter. Where the
    constraints contradict each other it is the primary's gradient itself.
    """

    type: Literal["pcd"] = "pcd"
    tau: Share = 0.02
    """Share of the progress to first order that each auxiliary would make by its own gradient."""
    beta: Share = 0.999
    """Decay of the moving averages of the gradients' square lengths, below 1."""
    epsilon: NonNegativeNumber = 1e-8
    """Added to these."""

    asymmetric = True

    def aggregator(self, rows: int) -> Aggregator:
        from torchjd.aggregation import PCDWeighting

        return ByGramian(PCDWeighting(self.tau, self.beta, self.epsilon), normalized=False, single=True)

    @model_validator(mode="after")
    def _decays(self) -> Pcd:
        if self.beta == 1:
            refuse([error_at(("beta",), "must be below 1", "beta: 0.999", self.beta)])
        return self
