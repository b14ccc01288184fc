"""``projected01``: g = alpha, kept in [0, 1] by projection after every optimizer step, so that it can leave the border again."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from graphnas.gates.base import GateFunction
from graphnas.schema import Number


class Projected01(GateFunction):
    """g = alpha, in [0, 1]. The only gate that can be exactly 0 and still get a gradient; with ``proximal`` it ends there."""

    function: Literal["projected01"] = "projected01"
    initial: Number = Field(default=0.5, ge=0, le=1)
    """The gates' value at the start."""

    def __call__(self, alpha: Tensor, *, training: bool = True) -> Tensor:
        return alpha

    def inverse(self, gate: float, candidates: int) -> float:
        return gate

    @torch.no_grad()
    def project(self, alpha: Tensor) -> None:
        alpha.clamp_(0, 1)
