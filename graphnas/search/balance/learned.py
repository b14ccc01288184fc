"""Balances whose weights are parameters, trained with the weights of the network.

With a parameter s of each task, 0 at first:

    uncertainty    sum of  exp(-s) loss / 2 + s / 2      s: the logarithm of the task's variance
    imtl_l         sum of  exp(s) loss - s               (twice uncertainty, with -s)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from graphnas.search.balance.balancer import Balancer, Descent, Setting, descend
from graphnas.search.balance.base import Balance


class Uncertainty(Balance):
    """Uncertainty weighting: every loss is divided by a variance that is learned (Kendall et al. 2018).

    arXiv:1705.07115, by torchjd. The optimizer of the weights trains the logarithms of the variances, without weight decay. A loss
    near zero gets a weight without bound; an auxiliary that is easy then weighs most.
    """

    type: Literal["uncertainty"] = "uncertainty"

    several = True

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """With all variances at 1."""
        return self.weighted_sum(losses, progress) / 2

    def start(self, setting: Setting) -> Balancer:
        from torchjd.scalarization import UW

        return Learned(self, setting, lambda: UW(1))


class ImtlL(Balance):
    """IMTL-L: every loss is scaled by a factor that is learned, to about the same size (Liu et al. 2021).

    ICLR 2021, "Towards Impartial Multi-task Learning", by torchjd. Losses must be positive.
    """

    type: Literal["imtl_l"] = "imtl_l"

    several = True

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """With all factors at 1."""
        return self.weighted_sum(losses, progress)

    def start(self, setting: Setting) -> Balancer:
        from torchjd.scalarization import IMTLL

        return Learned(self, setting, lambda: IMTLL(1))


class Learned(Balancer):
    """The sum of a scalar function of each loss with a parameter of its own: a task without labels changes nothing.

    Args:
        balance: For the weights of the losses.
        setting: Of the phase.
        make: A module of one parameter, (1,) -> scalar.
    """

    def __init__(self, balance: Balance, setting: Setting, make: Callable[[], nn.Module]) -> None:
        self._balance = balance
        self._scales = {task: make().to(setting.device) for task in setting.tasks}

    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        return self._balance.weighted_sum(losses, progress)

    def backward(self, descent: Descent) -> bool:
        terms = [self._scales[task](self._weighted(task, loss, descent)) for task, loss in descent.losses.items()]
        return descend(torch.stack(terms).sum() if terms else None, descent.penalty, descent.scaler)

    def _weighted(self, task: str, loss: Tensor, descent: Descent) -> Tensor:
        return (self._balance.weight(task, descent.progress) * loss).reshape(1)

    def named_parameters(self) -> dict[str, nn.Parameter]:
        return {f"{task}.{name}": parameter for task, scale in self._scales.items() for name, parameter in scale.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.named_parameters().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.named_parameters().items():
                parameter.copy_(state[name])
