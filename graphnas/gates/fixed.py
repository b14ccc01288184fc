"""``fixed``: gates that are not searched."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from graphnas.gates.base import GateFunction
from graphnas.schema import Number


class Fixed(GateFunction):
    """g = ``initial``, from the first step to the last."""

    function: Literal["fixed"] = "fixed"
    initial: Number = 1.0
    """The gates' value."""
    trainable: ClassVar[bool] = False

    def __call__(self, alpha: Tensor, *, training: bool = True) -> Tensor:
        return alpha.detach()

    def inverse(self, gate: float, candidates: int) -> float:
        return gate
