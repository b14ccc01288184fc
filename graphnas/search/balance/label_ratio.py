"""``label_ratio``: auxiliaries weigh as much as their labels outnumber the primary's, and fade to nothing.

With n the numbers of training samples that have a task's label, at share t of training:

    w_k(t) = weights_k(t) * min(factor * n_k / n_primary, most) * (1 - t)        auxiliaries
    w_p(t) = weights_p(t)                                                        the primary

Many auxiliary labels beside few of the primary's start with a large weight, and the primary has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from graphnas.schema import PositiveNumber
from graphnas.search.balance.balancer import Balancer, Combining, Setting
from graphnas.search.balance.base import Balance, summed


class LabelRatio(Balance):
    """Auxiliaries start with a weight of ``factor`` times their labels over the primary's, and fade linearly to zero.

    Of our own, for auxiliary learning as in arXiv:2405.05695: where the primary's labels are few an auxiliary may weigh much, where they
    are many it does harm. ``weights`` multiply, and are 1 if left out.
    """

    type: Literal["label_ratio"] = "label_ratio"
    factor: PositiveNumber = 2
    """What an auxiliary with as many labels as the primary starts with."""
    most: PositiveNumber = 24
    """Largest weight to start with."""

    several = True

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """Where the numbers of labels are not known: the weights alone."""
        return self.weighted_sum(losses, progress)

    def start(self, setting: Setting) -> Balancer:
        return Combining(_Fading(self, setting), setting)

    def starting_weight(self, ratio: float) -> float:
        """What ``weights`` of an auxiliary is multiplied with at the start, from its labels over the primary's."""
        return min(self.factor * ratio, self.most)


class _Fading:
    """The weights of a phase."""

    def __init__(self, balance: LabelRatio, setting: Setting) -> None:
        self._balance = balance
        known = [task for task in setting.auxiliaries if task in setting.labels] if setting.labels.get(setting.primary) else []
        self._fading = {task: balance.starting_weight(setting.labels[task] / setting.labels[setting.primary]) for task in known}

    def weight(self, task: str, progress: float) -> float:
        faded = self._fading[task] * (1 - progress) if task in self._fading else 1.0
        return self._balance.weight(task, progress) * faded

    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        return summed([self.weight(task, progress) * loss for task, loss in losses.items()])

    combine = weighted_sum
