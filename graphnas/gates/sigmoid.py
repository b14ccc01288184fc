"""``sigmoid``: g = 1 / (1 + exp(-alpha)), the gate of Aux-NAS (arXiv:2405.05695)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from graphnas.gates.base import GateFunction
from graphnas.schema import Number


class Sigmoid(GateFunction):
    """g = sigmoid(alpha), in (0, 1)."""

    function: Literal["sigmoid"] = "sigmoid"
    initial: Number = Field(default=0.5, gt=0, lt=1)
    """The gates' value at the start (of the gate, not of alpha); between 0 and 1, which sigmoid never reaches."""

    def __call__(self, alpha: Tensor, *, training: bool = True) -> Tensor:
        return torch.sigmoid(alpha)

    def inverse(self, gate: float, candidates: int) -> float:
        return math.log(gate / (1 - gate))
