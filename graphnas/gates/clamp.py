"""``clamp01`` and ``clamp11``: alpha clamped in the forward pass, with no gradient outside (the authors' ``direct`` gates)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from graphnas.gates.base import GateFunction
from graphnas.schema import Number


class Clamp01(GateFunction):
    """g = min(max(alpha, 0), 1). An alpha outside gets no gradient, so it stays there: see ``projected01``."""

    function: Literal["clamp01"] = "clamp01"
    initial: Number = Field(default=0.5, ge=0, le=1)
    """The gates' value at the start."""

    def __call__(self, alpha: Tensor, *, training: bool = True) -> Tensor:
        return alpha.clamp(0, 1)

    def inverse(self, gate: float, candidates: int) -> float:
        return gate


class Clamp11(GateFunction):
    """g = min(max(alpha, -1), 1)."""

    function: Literal["clamp11"] = "clamp11"
    initial: Number = Field(default=0.5, ge=-1, le=1)
    """The gates' value at the start."""

    def __call__(self, alpha: Tensor, *, training: bool = True) -> Tensor:
        return alpha.clamp(-1, 1)

    def inverse(self, gate: float, candidates: int) -> float:
        return gate
