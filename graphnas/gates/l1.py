"""``l1``: lambda(t) times the mean over a rule's links of the gates' absolute values; drives links to zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from graphnas.gates.base import Penalty


class L1(Penalty):
    """lambda(t) * mean over links of sum over candidates of \\|g\\|, or with ``of: contribution`` of \\|g\\| times the operation's gain."""

    type: Literal["l1"] = "l1"

    def __call__(self, values: Sequence[Tensor], progress: float) -> Tensor:
        if not values:
            return torch.zeros(())
        return self.strength_at(progress) / len(values) * torch.cat(list(values)).abs().sum()
