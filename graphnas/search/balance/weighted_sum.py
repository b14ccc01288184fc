"""``sum``: the losses times their weights, added up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from graphnas.search.balance.base import Balance


class WeightedSum(Balance):
    """sum over tasks of w(t) * loss."""

    linear = True
    type: Literal["sum"] = "sum"

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        return self.weighted_sum(losses, progress)
