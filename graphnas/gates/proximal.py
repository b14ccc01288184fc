"""``proximal``: an l1 penalty taken as a proximal step, so that gates end exactly at zero (with ``projected01``).

After each step of SGD with rate r:  alpha <- max(alpha - r lambda(t) / n, 0)  for each of the rule's n links.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import field_validator
from torch import Tensor

from graphnas.gates.base import Penalty
from graphnas.schema import problem


class Proximal(Penalty):
    """Soft-thresholds alphas after each optimizer step; adds nothing to the loss."""

    type: Literal["proximal"] = "proximal"

    @field_validator("of")
    @classmethod
    def _of_gates(cls, of: str) -> str:
        if of != "gate":
            raise problem("a proximal step acts on the gate itself", "of: gate")
        return of

    def __call__(self, values: Sequence[Tensor], progress: float) -> Tensor:
        return values[0].new_zeros(()) if values else torch.zeros(())

    @torch.no_grad()
    def shrink(self, alpha: Tensor, *, learning_rate: float, progress: float, links: int) -> None:
        alpha.sub_(learning_rate * self.strength_at(progress) / links).clamp_(min=0)
