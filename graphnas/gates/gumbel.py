"""``gumbel``: softmax over a link's candidates with Gumbel noise while training (arXiv:1611.01144).

Over ``[operation, none]`` that is a relaxed Bernoulli draw, sigmoid((alpha_1 - alpha_2 + logistic noise) / temperature): the gate of
MTL-NAS (arXiv:2003.14058).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from graphnas.gates.base import GateFunction
from graphnas.gates.softmax import CandidateGate
from graphnas.schema import PositiveNumber, Spec


class Annealed(Spec):
    """A temperature that changes linearly over training."""

    telling: ClassVar[str | None] = "start"
    start: PositiveNumber = Field(examples=[1])
    """In the first step."""
    end: PositiveNumber | None = Field(default=None, examples=[0.1])
    """In the last step, and of gates without noise; the same, if left out."""


class Gumbel(CandidateGate):
    """g = softmax((alpha + noise) / temperature) while training, softmax(alpha / last temperature) else."""

    draws = True
    function: Literal["gumbel"] = "gumbel"
    temperature: Annealed = Field(default=Annealed(start=1.0), examples=[1, {"start": 1, "end": 0.1}])
    """The lower, the closer a draw is to choosing one candidate; a number, or linear over training."""

    def __call__(self, alpha: Tensor, *, training: bool = True) -> Tensor:
        if not training:
            return (alpha / self._last).softmax(dim=-1)
        exponential = torch.empty_like(alpha).exponential_()
        return ((alpha - exponential.log()) / self.temperature.start).softmax(dim=-1)  # -log of an exponential draw is a Gumbel draw

    def at(self, progress: float) -> GateFunction:
        first, last = self.temperature.start, self._last
        return (
            self if first == last else self.model_copy(update={"temperature": Annealed(start=first + (last - first) * progress, end=last)})
        )

    @property
    def _last(self) -> float:
        return self.temperature.start if self.temperature.end is None else self.temperature.end
