"""``gumbel``: softmax over a link's candidates with Gumbel noise while training (arXiv:1611.01144)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from graphnas.gates.softmax import CandidateGate
from graphnas.schema import PositiveNumber


class Gumbel(CandidateGate):
    """g = softmax((alpha + noise) / temperature) while training, softmax(alpha / temperature) else."""

    function: Literal["gumbel"] = "gumbel"
    temperature: PositiveNumber = 1.0
    """The lower, the closer a draw is to choosing one candidate."""

    def __call__(self, alpha: Tensor, *, training: bool = True) -> Tensor:
        if training:
            exponential = torch.empty_like(alpha).exponential_()
            alpha = alpha - exponential.log()  # -log of an exponential draw is a Gumbel draw
        return (alpha / self.temperature).softmax(dim=-1)
