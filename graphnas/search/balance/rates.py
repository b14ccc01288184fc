"""Balances that follow how fast the losses fall. Torchjd's own need every loss in every batch and are no part of a checkpoint; these are
the same formulas with neither limit, equal to torchjd's where all tasks have labels.

    dwa     K softmax(r / T), r = mean loss of the last epoch / of the one before, over the K tasks
    famo    weights softmax(s) times 1 / loss, scaled to add up to 1; s follows the fall of log loss in each step
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from graphnas.schema import NonNegativeNumber, PositiveNumber
from graphnas.search.balance.balancer import Balancer, Descent, Setting, descend, numbers
from graphnas.search.balance.base import Balance
from graphnas.search.optimizers import optimizer_state, restore_optimizer

_SMALL = 1e-8


class Dwa(Balance):
    """Dynamic weight average: tasks whose loss falls slower than others' weigh more (Liu et al. 2019).

    arXiv:1803.10704. The weights are 1 in the first two epochs; a task without labels in two epochs keeps what it has. Says nothing about
    whether a task helps the primary.
    """

    type: Literal["dwa"] = "dwa"
    temperature: PositiveNumber = 2.0
    """The larger, the more equal the weights."""

    several = True

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """In the first two epochs."""
        return self.weighted_sum(losses, progress)

    def start(self, setting: Setting) -> Balancer:
        return Averages(self, setting)


class Averages(Balancer):
    """Mean losses of the current epoch and the two before."""

    def __init__(self, balance: Dwa, setting: Setting) -> None:
        self._balance = balance
        self._tasks = setting.tasks
        self._sums = torch.zeros(len(setting.tasks), dtype=torch.float64)
        self._counts = torch.zeros(len(setting.tasks), dtype=torch.float64)
        self._last = torch.full((2, len(setting.tasks)), torch.nan, dtype=torch.float64)  # the one before, the last one

    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        return self._balance.weighted_sum(losses, progress)

    def backward(self, descent: Descent) -> bool:
        if not descent.losses:
            return descend(None, descent.penalty, descent.scaler)
        factors = dict(zip(self._tasks, numbers(self.factors()), strict=True))
        for task, value in zip(descent.losses, numbers(torch.stack(list(descent.losses.values()))), strict=True):
            self._sums[self._tasks.index(task)] += value
            self._counts[self._tasks.index(task)] += 1
        scaled = {task: factors[task] * loss for task, loss in descent.losses.items()}
        return descend(self._balance.weighted_sum(scaled, descent.progress), descent.penalty, descent.scaler)

    def factors(self) -> Tensor:
        """(K,), of the weights of the losses; they add up to K."""
        rates = self._last[1] / self._last[0]
        known = torch.isfinite(rates)
        factors = torch.ones_like(rates)
        factors[known] = int(known.sum()) * torch.softmax(rates[known] / self._balance.temperature, 0)
        return factors

    def after_epoch(self) -> None:
        means = torch.where(self._counts > 0, self._sums / self._counts, self._last[1])
        self._last = torch.stack([self._last[1], means])
        self._sums, self._counts = torch.zeros_like(self._sums), torch.zeros_like(self._counts)

    def state(self) -> dict[str, Tensor]:
        return {"sums": self._sums, "counts": self._counts, "last": self._last}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._sums, self._counts, self._last = (state[name].cpu().clone() for name in ("sums", "counts", "last"))


class Famo(Balance):
    """FAMO: all losses fall at about the same rate, judged by what each step did to them (Liu et al. 2023).

    arXiv:2306.03792. One more forward pass a step, in which running statistics of batch norms and random numbers are left as they are.
    Losses must be positive. The weights of the losses enter as factors of the losses, which changes the direction little.
    """

    type: Literal["famo"] = "famo"
    lr: PositiveNumber = 0.025
    """Of the tasks' logits, by Adam."""
    weight_decay: NonNegativeNumber = 1e-3
    """Of the tasks' logits."""

    several = True

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """What a batch with one loss descends."""
        return self.weighted_sum(losses, progress)

    def start(self, setting: Setting) -> Balancer:
        return Falls(self, setting)


class Falls(Balancer):
    """The logits of the tasks, and their optimizer."""

    def __init__(self, balance: Famo, setting: Setting) -> None:
        self._balance = balance
        self._tasks = setting.tasks
        self._logits = nn.Parameter(torch.zeros(len(setting.tasks), device=setting.device))
        self._optimizer = torch.optim.Adam([("logits", self._logits)], lr=balance.lr, weight_decay=balance.weight_decay)

    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        return self._balance.weighted_sum(losses, progress)

    def backward(self, descent: Descent) -> bool:
        losses = self._positive(descent.losses, descent.progress)
        if len(losses) < 2:
            combined = self._balance.combine(descent.losses, descent.progress) if descent.losses else None
            return descend(combined, descent.penalty, descent.scaler)
        values = torch.stack(list(losses.values())) + _SMALL
        shares = torch.softmax(self._logits.detach(), 0)[self._rows(losses)]
        scale = (shares / values.detach()).sum()
        return descend((shares / scale * values.log()).sum(), descent.penalty, descent.scaler)

    def after_step(self, descent: Descent) -> None:
        before = self._positive(descent.losses, descent.progress)
        if len(before) < 2:
            return
        with torch.no_grad():
            after = self._positive(descent.again(), descent.progress)
        falls = torch.zeros_like(self._logits)
        for row, task in zip(self._rows(before), before, strict=True):
            falls[row] = (before[task].detach() + _SMALL).log() - (after[task].detach() + _SMALL).log()
        shares = torch.softmax(self._logits, 0)
        [self._logits.grad] = torch.autograd.grad(shares, self._logits, falls)
        self._optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        self._logits.grad = None

    def _positive(self, losses: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        weights = {task: self._balance.weight(task, progress) for task in losses}
        return {task: weight * losses[task] for task, weight in weights.items() if weight > 0}

    def _rows(self, losses: Mapping[str, Tensor]) -> list[int]:
        return [self._tasks.index(task) for task in losses]

    def state(self) -> dict[str, Tensor]:
        tensors, _ = optimizer_state(self._optimizer)
        return {"logits": self._logits.detach(), **{f"adam/{name}": tensor for name, tensor in tensors.items()}}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self._logits.copy_(state["logits"])
        restore_optimizer(self._optimizer, {name.removeprefix("adam/"): tensor for name, tensor in state.items() if name != "logits"}, {})
