"""``entropy``: lambda(t) times the mean binary entropy of a rule's gates, in nats; drives each gate to 0 or to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import field_validator
from torch import Tensor

from graphnas.gates.base import Penalty
from graphnas.schema import problem


class Entropy(Penalty):
    """lambda(t) * mean over gates of -g ln g - (1 - g) ln(1 - g).

    The slope is infinite at 0 and 1, so gates within float32's epsilon of either count as decided and get no gradient.
    """

    type: Literal["entropy"] = "entropy"

    @field_validator("of")
    @classmethod
    def _of_gates(cls, of: str) -> str:
        if of != "gate":
            raise problem("entropy is that of a gate; a contribution is no probability", "of: gate")
        return of

    def __call__(self, values: Sequence[Tensor], progress: float) -> Tensor:
        if not values:
            return torch.zeros(())
        edge = torch.finfo(torch.float32).eps
        gates = torch.cat(list(values)).clamp(edge, 1 - edge)
        return -self.strength_at(progress) * (gates * gates.log() + (1 - gates) * (-gates).log1p()).mean()
