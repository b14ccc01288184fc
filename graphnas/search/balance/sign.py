"""``graddrop``: each entry of the gradient follows one sign."""

from __future__ import annotations

from typing import Literal

from graphnas.search.balance.gradients import Aggregator, ByMatrix, GradientBalance


class GradDrop(GradientBalance):
    """GradDrop: where gradients disagree in sign, one sign is drawn and the others are dropped (Chen et al. 2020).

    arXiv:2010.06808, lines 10 to 15 of algorithm 1, by torchjd: on the gradients of the parameters, where the paper acts on those of a
    layer's values. The chance of a sign is its share of the absolute values. Copies all gradients into one matrix.
    """

    type: Literal["graddrop"] = "graddrop"

    stochastic = True

    def aggregator(self, rows: int) -> Aggregator:
        from torchjd.aggregation import GradDrop as Dropping

        return ByMatrix(Dropping())
