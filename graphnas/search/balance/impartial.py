"""Balances that even out the lengths of the gradients.

imtl_g         weights that add up to 1, with which the result has the same projection onto every row's direction
aligned_mtl    the principal components of the rows are scaled to the length of the shortest, and then added
config         the direction that has the same cosine with every row, as long as the rows' projections onto it together
"""

from __future__ import annotations

from typing import Literal

import torch

from graphnas.search.balance.gradients import Aggregator, ByGramian, ByMatrix, GradientBalance


class ImtlG(GradientBalance):
    """IMTL-G: the result has equal projections onto all gradients' directions (Liu et al. 2021).

    ICLR 2021, "Towards Impartial Multi-task Learning", by torchjd. Lengths of gradients do not matter, so weights of the losses do not
    either. Weights may be negative, and grow without bound as two gradients become parallel.
    """

    type: Literal["imtl_g"] = "imtl_g"

    def aggregator(self, rows: int) -> Aggregator:
        from torchjd.aggregation import IMTLGWeighting

        return ByGramian(IMTLGWeighting(), single=True)


class AlignedMtl(GradientBalance):
    """Aligned-MTL: the gradients' principal components are made equally long, so that none dominates (Senushkin et al. 2023).

    CVPR 2023, "Independent Component Alignment for Multi-Task Learning", by torchjd; the sum of the aligned gradients. With ``min`` all
    components shrink to the shortest: nearly parallel gradients give a small step.
    """

    type: Literal["aligned_mtl"] = "aligned_mtl"
    scale: Literal["min", "median", "rmse"] = "min"
    """Length of the components: of the shortest, the median, or the root of the mean square."""

    def aggregator(self, rows: int) -> Aggregator:
        from torchjd.aggregation import AlignedMTLWeighting

        return ByGramian(AlignedMTLWeighting(torch.ones(rows), scale_mode=self.scale), single=True)


class ConFig(GradientBalance):
    """ConFIG: the direction of equal cosine with every gradient (Liu et al. 2024).

    arXiv:2408.11104, Eq. 2, by torchjd. Copies all gradients into one matrix: twice the memory of the others.
    """

    type: Literal["config"] = "config"

    def aggregator(self, rows: int) -> Aggregator:
        from torchjd.aggregation import ConFIG

        return ByMatrix(ConFIG())
