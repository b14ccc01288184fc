"""Balances that are one function of the losses of a batch.

stch    mu log sum exp(w_i loss_i / mu), the weights w scaled to add up to 1: a smooth maximum
rlw     sum of p_i w_i loss_i, with p = softmax of random numbers
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from graphnas.schema import PositiveNumber
from graphnas.search.balance.balancer import Balancer, Descent, Draws, Setting, descend
from graphnas.search.balance.base import Balance


class Stch(Balance):
    """STCH: the smooth maximum of the weighted losses (Lin et al. 2024).

    arXiv:2402.19078, by torchjd. Follows the largest loss: losses in units that differ need weights.
    """

    type: Literal["stch"] = "stch"
    mu: PositiveNumber = 0.1
    """Smoothness: the smaller, the nearer to the maximum."""

    several = True

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        from torchjd.scalarization import STCH

        values = torch.stack(list(losses.values()))
        weights = values.new_tensor([self.weight(task, progress) for task in losses])
        if not bool(weights.sum() > 0):
            return self.weighted_sum(losses, progress)
        return STCH(self.mu, weights=weights / weights.sum())(values)


class Rlw(Balance):
    """Random loss weighting: new random weights in every step (Lin et al. 2022).

    arXiv:2111.10603, by torchjd: the baseline that every cleverer balance should beat. The weights add up to 1.
    """

    type: Literal["rlw"] = "rlw"

    several = True

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """Their expectation."""
        return self.weighted_sum(losses, progress) / len(losses)

    def start(self, setting: Setting) -> Balancer:
        return Random(self, setting)


class Random(Balancer):
    """Weights drawn by the balance's own numbers."""

    def __init__(self, balance: Rlw, setting: Setting) -> None:
        self._balance = balance
        self._draws = Draws(setting)

    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        return self._balance.weighted_sum(losses, progress)

    def backward(self, descent: Descent) -> bool:
        from torchjd.scalarization import Random as Drawn

        if not descent.losses:
            return descend(None, descent.penalty, descent.scaler)
        values = torch.stack([self._balance.weight(task, descent.progress) * loss for task, loss in descent.losses.items()])
        with self._draws.seeded():
            found = Drawn()(values)
        return descend(found, descent.penalty, descent.scaler)

    def state(self) -> dict[str, Tensor]:
        return self._draws.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._draws.restore(state)
