"""Balances that see the gradient of each loss apart, row by row, and make one out of them.

One backward pass a loss gives the rows. What a row has no gradient for, its loss does not reach: parameters are grouped by the set of
losses that reach them. A parameter that one loss reaches gets its plain gradient; each group that several reach is aggregated with the rows
of these alone, and a row of nothing but zeros (a task whose samples have no labeled pixel) is left out as one without labels is. Alphas get
the plain sum of the rows, and every parameter the penalty's gradient beside.

Rows are gradients of weight times loss. A loss whose weight is 0 has no row.
"""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor, nn

from graphnas.errors import RunError
from graphnas.search import random_state
from graphnas.search.balance.balancer import Balancer, Descent, Draws, Setting, descend, numbers
from graphnas.search.balance.base import Balance

Row = Sequence[Tensor]
"""The gradient of one loss: a tensor a parameter."""


class Aggregator(nn.Module, ABC):
    """Makes one gradient of several; what it remembers are buffers."""

    @abstractmethod
    def forward(self, rows: Sequence[Row], gramian: Tensor) -> list[Tensor]:
        """One gradient of several.

        Args:
            rows: Gradients of m losses, m >= 2, none zero; the primary's first if it is among them.
            gramian: (m, m), float64 on the CPU, their inner products.
        """


class ByGramian(Aggregator):
    """A weighted sum of the rows, whose weights follow from their inner products.

    Args:
        weighting: (m, m) -> (m,).
        normalized: Divide the inner products by the mean square length of the rows first, for weightings that do not depend on it.
        single: Give them in float32, to weightings that judge by its precision which gradients are linearly dependent: that of the rows.
        factor: Multiplies the weights.
    """

    def __init__(self, weighting: nn.Module, *, normalized: bool = True, single: bool = False, factor: float = 1.0) -> None:
        super().__init__()
        self.weighting = weighting
        self._normalized = normalized
        self._dtype = torch.float32 if single else torch.float64
        self._factor = factor

    def forward(self, rows: Sequence[Row], gramian: Tensor) -> list[Tensor]:
        scaled = gramian / gramian.trace() * len(rows) if self._normalized else gramian
        weights: Tensor = self.weighting(scaled.to(self._dtype))
        return weighted(rows, numbers(self._factor * weights.double()))


class ByMatrix(Aggregator):
    """A function of all entries of all rows.

    Args:
        function: (m, n) -> (n,).
    """

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, rows: Sequence[Row], gramian: Tensor) -> list[Tensor]:
        vector: Tensor = self.function(torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]))
        ends = list(accumulate(part.numel() for part in rows[0]))
        return [vector[end - part.numel() : end].view(part.shape) for end, part in zip(ends, rows[0], strict=True)]


class GradientBalance(Balance, ABC):
    """Makes one gradient of those of the losses, for the parameters that several of them reach."""

    several = True
    compares_gradients = True
    stochastic: ClassVar[bool] = False
    """Draws at random."""
    asymmetric: ClassVar[bool] = False
    """Has the primary in its first row; parameters that it does not reach get the sum of the other rows."""

    @abstractmethod
    def aggregator(self, rows: int) -> Aggregator:
        """What makes one gradient of so many."""

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """What a batch with one loss left descends."""
        return self.weighted_sum(losses, progress)

    def start(self, setting: Setting) -> Balancer:
        return Aggregating(self, setting)


class Aggregating(Balancer):
    """Aggregates the gradients of every group of shared parameters.

    Args:
        balance: By its aggregator; each group of parameters has one of its own.
        setting: Of the phase.
    """

    def __init__(self, balance: GradientBalance, setting: Setting) -> None:
        self._balance = balance
        self._setting = setting
        self._draws = Draws(setting)
        self._aggregators: dict[tuple[tuple[str, ...], tuple[str, ...]], Aggregator] = {}

    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        return self._balance.weighted_sum(losses, progress)

    def backward(self, descent: Descent) -> bool:
        terms = self._terms(descent)
        if len(terms) < 2:
            return descend(next(iter(terms.values()), None), descent.penalty, descent.scaler)
        assert descent.scaler is None, "refused when the spec is read"
        shared = rows_of(list(terms.values()), descent.weights, descent.alphas)
        tasks = tuple(terms)
        for reached, members in groups(shared.weights).items():
            rows = [[shared.weights[task][member] for member in members] for task in reached]
            made = self._aggregated(tuple(tasks[task] for task in reached), [_present(row) for row in rows])
            for member, gradient in zip(members, made, strict=True):
                descent.weights[member].grad = gradient
        for index, alpha in enumerate(descent.alphas):
            found = [row[index] for row in shared.alphas]
            present = [[gradient] for gradient in found if gradient is not None]
            alpha.grad = total(present)[0] if present else None
        descend(None, descent.penalty, None)
        return True

    def _terms(self, descent: Descent) -> dict[str, Tensor]:
        """Task -> weight times loss, the primary first; without those of weight 0."""
        order = (self._setting.primary, *self._setting.auxiliaries)
        weights = {task: self._balance.weight(task, descent.progress) for task in order if task in descent.losses}
        terms = {task: weight * descent.losses[task] for task, weight in weights.items() if weight > 0}
        return {task: term for task, term in terms.items() if term.requires_grad}

    def _aggregated(self, tasks: tuple[str, ...], rows: list[Row]) -> list[Tensor]:
        """The gradient of parameters that the losses of these tasks reach."""
        if len(tasks) == 1:
            return list(rows[0])
        gramian = inner_products(rows)
        kept = [index for index in range(len(tasks)) if float(gramian[index, index]) > 0]
        apart = self._balance.asymmetric and self._setting.primary not in [tasks[index] for index in kept]
        if len(kept) < 2 or apart or not bool(gramian.isfinite().all()):  # what is not finite is told where the step looks at it
            return total(rows)
        aggregator = self._of(tasks, tuple(tasks[index] for index in kept))
        try:
            with self._draws.seeded() if self._balance.stochastic else nullcontext(), torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of solvers
                return aggregator([rows[index] for index in kept], gramian[kept][:, kept])
        except torch.OutOfMemoryError:  # which the loop explains
            raise
        except (ValueError, TypeError, RuntimeError) as error:
            said = " ".join(str(error).split())
            raise RunError(
                f"the gradients of {', '.join(tasks)} can't be combined by {_name(self._balance)!r}: {said}",
                fix="lower training.optimizers.weights.lr, or choose another balance",
            ) from error

    def _of(self, reached: tuple[str, ...], rows: tuple[str, ...]) -> Aggregator:
        key = (reached, rows)
        if key not in self._aggregators:
            self._aggregators[key] = self._balance.aggregator(len(rows))
        return self._aggregators[key]

    def state(self) -> dict[str, Tensor]:
        found = self._draws.state()
        for key, aggregator in self._aggregators.items():
            found |= {f"{json.dumps(key)}/{name}": buffer for name, buffer in aggregator.named_buffers()}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._aggregators = {}
        buffers: dict[str, dict[str, Tensor]] = {}
        for entry, tensor in state.items():
            key, _, name = entry.rpartition("/")
            if key:
                buffers.setdefault(key, {})[name] = tensor
        for key, found in buffers.items():
            reached, rows = json.loads(key)
            aggregator = self._of(tuple(reached), tuple(rows))
            with random_state.given_back(self._setting.device), torch.no_grad():  # makes the buffers, which it has from its first call on
                aggregator(
                    [[torch.tensor([float(i == j)]) for j in range(len(rows))] for i in range(len(rows))], torch.eye(len(rows)).double()
                )
            aggregator.load_state_dict(found)
        self._draws.restore(state)


class Rows:
    """The gradients of losses: a row a loss, an entry a parameter, ``None`` where the loss does not reach it."""

    def __init__(self) -> None:
        self.weights: list[list[Tensor | None]] = []
        self.alphas: list[list[Tensor | None]] = []


def rows_of(losses: Sequence[Tensor], weights: Sequence[nn.Parameter], alphas: Sequence[nn.Parameter]) -> Rows:
    """The gradient of each loss, one backward pass each; no parameter keeps one."""
    made = Rows()
    for parameter in (*weights, *alphas):
        parameter.grad = None
    for index, loss in enumerate(losses):
        loss.backward(retain_graph=index + 1 < len(losses))  # pyright: ignore[reportUnknownMemberType]
        for parameters, rows in ((weights, made.weights), (alphas, made.alphas)):
            rows.append([parameter.grad for parameter in parameters])
            for parameter in parameters:
                parameter.grad = None
    return made


def groups(rows: Sequence[Sequence[Tensor | None]]) -> dict[tuple[int, ...], list[int]]:
    """Losses -> the parameters that exactly these reach; parameters that none reaches are left out."""
    found: dict[tuple[int, ...], list[int]] = {}
    for member in range(len(rows[0])):
        reached = tuple(index for index, row in enumerate(rows) if row[member] is not None)
        if reached:
            found.setdefault(reached, []).append(member)
    return found


def inner_products(rows: Sequence[Row]) -> Tensor:
    """(m, m), float64 on the CPU."""
    double = rows[0][0].device.type != "mps"  # which has no float64
    entries = [[_inner_product(first, second, double=double) for second in rows[: index + 1]] for index, first in enumerate(rows)]
    below = torch.stack([entry for row in entries for entry in row]).cpu().double()
    made = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    lower = torch.tril_indices(len(rows), len(rows))
    made[lower[0], lower[1]] = below
    made[lower[1], lower[0]] = below
    return made


def _inner_product(first: Row, second: Row, *, double: bool) -> Tensor:
    products = [(a.double() * b.double() if double else a * b).sum() for a, b in zip(first, second, strict=True)]
    return torch.stack(products).sum()


def weighted(rows: Sequence[Row], weights: Sequence[float]) -> list[Tensor]:
    """The sum of weight times row."""
    made = [weights[0] * part for part in rows[0]]
    for row, weight in zip(rows[1:], weights[1:], strict=True):
        for target, part in zip(made, row, strict=True):
            target.add_(part, alpha=weight)
    return made


def total(rows: Sequence[Row]) -> list[Tensor]:
    """The sum of the rows."""
    return weighted(rows, [1.0] * len(rows))


def _present(row: Sequence[Tensor | None]) -> list[Tensor]:
    return [part for part in row if part is not None]


def _name(balance: Balance) -> str:
    return str(getattr(balance, "type", type(balance).__name__))
