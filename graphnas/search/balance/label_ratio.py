"""``label_ratio``: auxiliaries weigh as much as their labels outnumber the primary's, and fade to nothing.

With n the numbers of training samples that have a task's label, and l the losses when training begins, at share t of training:

    w_k(t) = weights_k(t) * min(factor * n_k / n_primary, most) * l_primary / l_k * max(0, 1 - t / until)        auxiliaries
    w_p(t) = weights_p(t)                                                                                        the primary

Many auxiliary labels beside few of the primary start with a large weight, in whatever units their loss is; the primary has the last word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from graphnas.schema import PositiveNumber, Share
from graphnas.search.balance.balancer import Balancer, Combining, Setting
from graphnas.search.balance.base import Balance, LinearWeight, summed


class LabelRatio(Balance):
    """Auxiliaries start with a weight of ``factor`` times their labels over the primary's, and fade linearly to zero.

    Of our own, for auxiliary learning as in arXiv:2405.05695: where the primary's labels are few an auxiliary may weigh much, where they
    are many it does harm. Losses count by how large they are when training begins. ``weights`` multiply, and are 1 if left out.
    """

    type: Literal["label_ratio"] = "label_ratio"
    factor: PositiveNumber = 2
    """What an auxiliary with as many labels as the primary starts with."""
    most: PositiveNumber = 24
    """Largest weight to start with."""
    until: Share = Field(default=1, examples=[0.6])
    """Share of training at which auxiliaries have faded to nothing."""

    linear = True
    several = True

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """Where the numbers of labels are not known: the weights alone."""
        return self.weighted_sum(losses, progress)

    def start(self, setting: Setting) -> Balancer:
        return _Working(_Fading(self, setting), setting)

    def starting_weight(self, ratio: float) -> float:
        """What ``weights`` of an auxiliary is multiplied with at the start, from its labels over the primary's, for losses alike."""
        return min(self.factor * ratio, self.most)


class _Fading:
    """The weights of a phase; ``first`` are the losses that its tasks began with, as far as they are known."""

    linear = True

    def __init__(self, balance: LabelRatio, setting: Setting) -> None:
        self._balance = balance
        self._primary = setting.primary
        known = [task for task in setting.auxiliaries if task in setting.labels] if setting.labels.get(setting.primary) else []
        starts = {task: balance.starting_weight(setting.labels[task] / setting.labels[setting.primary]) for task in known}
        self._fading = {task: LinearWeight(start=start, end=0, until=balance.until) for task, start in starts.items()}
        self.first: dict[str, float] = {}

    def weight(self, task: str, progress: float) -> float:
        given = self._balance.weight(task, progress)
        return given * self._fading[task].at(progress) * self._size(task) if task in self._fading else given

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        return summed([self.weight(task, progress) * loss for task, loss in losses.items()])

    weighted_sum = combine

    def _size(self, task: str) -> float:
        """The primary's first loss over the task's; 1 where one of them is not known, or nothing."""
        own, primary = self.first.get(task, 0.0), self.first.get(self._primary, 0.0)
        return primary / own if own > 0 and primary > 0 else 1.0


class _Working(Combining):
    """Remembers the losses that were seen first."""

    def __init__(self, fading: _Fading, setting: Setting) -> None:
        super().__init__(fading, setting)
        self._fading = fading

    def unseen(self, tasks: Collection[str]) -> bool:
        return not self._fading.first.keys() >= set(tasks)

    def see(self, losses: Mapping[str, Tensor]) -> None:
        self._fading.first = {task: float(loss.detach()) for task, loss in losses.items()} | self._fading.first

    def state(self) -> dict[str, Tensor]:
        """The first losses, of the tasks that were seen."""
        return {f"first/{task}": torch.tensor(loss, dtype=torch.float64) for task, loss in self._fading.first.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._fading.first = {name.removeprefix("first/"): float(loss) for name, loss in state.items()}
