"""``auxinash``: bargaining in which the tasks' say is learned, so that the primary gains.

With rows g_i, inner products G, preferences p (positive, adding up to the number m of tasks), the weights w solve

    G w = p / w                                            so that the result is as long as the root of the sum of p
    (G + diag(p / w^2)) dw  =  diag(1 / w) dp              by implicit differentiation

A step x' = x - r sum of w_i g_i changes the primary's loss L by  dL/dp_k  =  -r sum over i of <grad L(x'), g_i> dw_i/dp_k,  summed over the
groups of shared parameters. p = m softmax(s), where s starts at 0 and descends that derivative by Adam.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from graphnas.errors import RunError
from graphnas.schema import NonNegativeNumber, PositiveInt, PositiveNumber
from graphnas.search.balance.balancer import Balancer, Descent, Setting, descend, numbers
from graphnas.search.balance.bargaining import Bargain
from graphnas.search.balance.base import Balance
from graphnas.search.balance.gradients import Row, groups, inner_products, rows_of, total, weighted
from graphnas.search.balance.lookahead import gradient_ahead, summed
from graphnas.search.optimizers import optimizer_state, restore_optimizer


class AuxiNash(Balance):
    """AuxiNash: Nash's bargaining with a say of each task that is learned for the primary's sake (Shamsian et al. 2023).

    arXiv:2301.13501, of our own. The paper differentiates the primary's loss on held-out data through the training so far; here it is one
    step of plain descent ahead, as in ``auto_lambda``, on the alphas' batch (``updates: alternate``) or the same (``joint``).
    """

    type: Literal["auxinash"] = "auxinash"
    lr: PositiveNumber = 1e-2
    """Of the logits of the tasks' preferences, by Adam."""
    every: PositiveInt = 1
    """Steps from one look ahead to the next; each costs a forward and a backward pass."""
    max_norm: NonNegativeNumber = 1.0
    """Largest length of the result in a group of shared parameters, which else is the root of the number of tasks; 0: any."""

    several = True
    compares_gradients = True

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """What a batch with one loss left descends."""
        return self.weighted_sum(losses, progress)

    def start(self, setting: Setting) -> Balancer:
        return Learning(self, setting)


class Learning(Balancer):
    """The preferences of the tasks, and their optimizer."""

    def __init__(self, balance: AuxiNash, setting: Setting) -> None:
        self._balance = balance
        self._setting = setting
        self._tasks = (setting.primary, *setting.auxiliaries)
        self._logits = nn.Parameter(torch.zeros(len(self._tasks), dtype=torch.float64))
        self._optimizer = torch.optim.Adam([("logits", self._logits)], lr=balance.lr)
        self._bargain = Bargain(1.0)
        self._steps = 0

    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        return self._balance.weighted_sum(losses, progress)

    def preferences(self) -> dict[str, float]:
        """Task -> its say; they add up to the number of tasks."""
        return dict(zip(self._tasks, numbers(self._said(self._tasks)), strict=True))

    def _said(self, tasks: Sequence[str]) -> Tensor:
        """(m,), the preferences of some tasks, as they add up to the number of these."""
        return len(tasks) * torch.softmax(self._logits[[self._tasks.index(task) for task in tasks]], 0)

    def backward(self, descent: Descent) -> bool:
        weights = {task: self._balance.weight(task, descent.progress) for task in self._tasks if task in descent.losses}
        terms = {task: weight * descent.losses[task] for task, weight in weights.items() if weight > 0}
        terms = {task: term for task, term in terms.items() if term.requires_grad}
        if len(terms) < 2:
            return descend(next(iter(terms.values()), None), descent.penalty, descent.scaler)
        assert descent.scaler is None, "refused when the spec is read"
        rows = rows_of(list(terms.values()), descent.weights, descent.alphas)
        parts = [_Part.of(reached, members, rows.weights) for reached, members in groups(rows.weights).items()]
        self._steps += 1
        if self._setting.primary in terms and (self._steps - 1) % self._balance.every == 0:
            self._look_ahead(descent, list(terms), parts)
        for parameter, gradient in zip(descent.weights, self._directions(descent, list(terms), parts), strict=True):
            parameter.grad = gradient
        for alpha, gradient in zip(descent.alphas, summed(rows.alphas, [1.0] * len(terms)), strict=True):
            alpha.grad = gradient
        descend(None, descent.penalty, None)
        return True

    def _directions(self, descent: Descent, tasks: list[str], parts: Sequence[_Part]) -> list[Tensor | None]:
        """The gradient of every weight by the preferences as they are."""
        made: list[Tensor | None] = [None] * len(descent.weights)
        for part in parts:
            if part.bargains:
                solved = self._scale(part) * self._solved([tasks[index] for index in part.reached], part)
                found = weighted(part.rows, numbers(solved))
            else:
                found = total(part.rows)
            for member, gradient in zip(part.members, found, strict=True):
                made[member] = gradient
        return made

    def _scale(self, part: _Part) -> float:
        """What makes the result no longer than it may be; its length is the root of the number of rows."""
        return min(1.0, self._balance.max_norm / len(part.rows) ** 0.5) if self._balance.max_norm > 0 else 1.0

    def _solved(self, tasks: list[str], part: _Part) -> Tensor:
        try:
            return self._bargain(part.gramian, self._said(tasks).detach())
        except (ValueError, RuntimeError) as error:
            raise RunError(
                f"the gradients of {', '.join(tasks)} can't be combined by 'auxinash': {error}",
                fix="lower training.optimizers.weights.lr, or choose another balance",
            ) from error

    def _look_ahead(self, descent: Descent, tasks: list[str], parts: Sequence[_Part]) -> None:
        """One step of the preferences."""
        ahead = gradient_ahead(descent, self._directions(descent, tasks, parts), self._setting.primary)
        if ahead is None:
            return
        slopes = torch.zeros_like(self._logits)
        for part in parts:
            if part.bargains:
                names = [tasks[index] for index in part.reached]
                change = -descent.rate * self._scale(part) * part.change(self._solved(names, part), ahead)
                slopes += torch.autograd.grad(self._said(names), self._logits, change)[0]
        if bool(torch.isfinite(slopes).all()):  # what is not finite is told where the step looks at the gradient
            self._logits.grad = slopes
            self._optimizer.step()  # pyright: ignore[reportUnknownMemberType]
            self._logits.grad = None

    def state(self) -> dict[str, Tensor]:
        tensors, _ = optimizer_state(self._optimizer)
        own = {"logits": self._logits.detach(), "steps": torch.tensor(self._steps)}
        return own | {f"adam/{name}": tensor for name, tensor in tensors.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self._logits.copy_(state["logits"])
        self._steps = int(state["steps"])
        adam = {name.removeprefix("adam/"): tensor for name, tensor in state.items() if name.startswith("adam/")}
        restore_optimizer(self._optimizer, adam, {})


class _Part:
    """A group of parameters: who reaches it, its rows without those of zeros, and their inner products."""

    def __init__(self, reached: tuple[int, ...], members: list[int], rows: list[Row], gramian: Tensor) -> None:
        self.reached = reached
        self.members = members
        self.rows = rows
        self.gramian = gramian
        self.bargains = len(reached) > 1 and bool(gramian.isfinite().all())

    def change(self, weights: Tensor, ahead: Sequence[Tensor | None]) -> Tensor:
        """(m,), of <grad L(x'), sum of w_i g_i> with the preferences."""
        sides = [ahead[member] for member in self.members]
        products = [[(a * b).sum() for a, b in zip(row, sides, strict=True) if b is not None] for row in self.rows]
        gains = torch.stack([torch.stack(found).sum() if found else torch.zeros(()) for found in products]).cpu().double()
        gramian = self.gramian + Bargain.REGULARIZATION * torch.diag(self.gramian.diagonal())
        curvature = gramian + torch.diag(gramian @ weights / weights)  # p / w = G w
        return cast("Tensor", torch.linalg.solve(curvature, gains)) / weights  # pyright: ignore[reportUnknownMemberType]

    @staticmethod
    def of(reached: tuple[int, ...], members: list[int], rows: Sequence[Sequence[Tensor | None]]) -> _Part:
        found = [[part for member in members if (part := rows[task][member]) is not None] for task in reached]
        gramian = inner_products(found)
        kept = [index for index in range(len(reached)) if float(gramian[index, index]) != 0] or [0]
        return _Part(tuple(reached[index] for index in kept), members, [found[index] for index in kept], gramian[kept][:, kept])
