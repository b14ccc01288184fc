"""``auto_lambda``: weights of the auxiliaries that lower the primary's loss one step ahead.

With g_i the gradient of weight times loss i at the parameters x, rate r, and L the primary's loss,

    x'              =  x - r sum of lambda_i g_i
    dL(x')/dlambda_i  =  -r <grad L(x'), g_i>         exactly, since x' is linear in lambda

lambda is 1 for the primary; for the auxiliaries it starts at 1, descends that derivative by Adam, and is kept at 0 or above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from graphnas.schema import PositiveInt, PositiveNumber
from graphnas.search.balance.balancer import Balancer, Descent, Setting, descend, numbers
from graphnas.search.balance.base import Balance
from graphnas.search.balance.gradients import rows_of, weighted
from graphnas.search.optimizers import optimizer_state, restore_optimizer


class AutoLambda(Balance):
    """Auto-Lambda: auxiliaries weigh as much as helps the primary one step of plain descent ahead (Liu et al. 2022).

    arXiv:2202.03091, of our own, without its finite differences: the derivative is exact. With ``updates: alternate`` the primary's loss is
    that of the alphas' batch, with ``joint`` of the same batch. One step ahead an auxiliary seldom crowds the primary out: with many
    labels of the primary the weights grow beyond what helps in the end (findings of ours; see docs/methods.md).
    """

    type: Literal["auto_lambda"] = "auto_lambda"
    lr: PositiveNumber = 1e-2
    """Of the auxiliaries' factors, by Adam."""
    every: PositiveInt = 1
    """Steps from one look ahead to the next; each costs a forward and a backward pass."""

    several = True
    compares_gradients = True

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """With all factors at 1."""
        return self.weighted_sum(losses, progress)

    def start(self, setting: Setting) -> Balancer:
        return Lookahead(self, setting)


class Lookahead(Balancer):
    """The factors of the auxiliaries, and their optimizer."""

    def __init__(self, balance: AutoLambda, setting: Setting) -> None:
        self._balance = balance
        self._setting = setting
        self._factors = nn.Parameter(torch.ones(len(setting.auxiliaries)))
        self._optimizer = torch.optim.Adam([("factors", self._factors)], lr=balance.lr)
        self._steps = 0

    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        return self._balance.weighted_sum(losses, progress)

    def backward(self, descent: Descent) -> bool:
        assert descent.scaler is None, "refused when the spec is read"
        terms = {task: self._balance.weight(task, descent.progress) * loss for task, loss in descent.losses.items()}
        terms = {task: term for task, term in terms.items() if term.requires_grad}
        if not terms:
            return descend(None, descent.penalty, None)
        rows = rows_of(list(terms.values()), descent.weights, descent.alphas)
        self._steps += 1
        if len(terms) > 1 and self._setting.primary in terms and (self._steps - 1) % self._balance.every == 0:
            self._look_ahead(descent, list(terms), rows.weights)
        for parameters, found, factors in (
            (descent.weights, rows.weights, self._of(terms)),
            (descent.alphas, rows.alphas, [1.0] * len(terms)),
        ):
            for parameter, gradient in zip(parameters, summed(found, factors), strict=True):
                parameter.grad = gradient
        descend(None, descent.penalty, None)
        return True

    def factors(self) -> dict[str, float]:
        """Auxiliary -> what its weight is multiplied with."""
        return dict(zip(self._setting.auxiliaries, numbers(self._factors), strict=True))

    def _of(self, tasks: Mapping[str, Tensor]) -> list[float]:
        factors = self.factors()
        return [factors.get(task, 1.0) for task in tasks]

    def _look_ahead(self, descent: Descent, tasks: list[str], rows: Sequence[Sequence[Tensor | None]]) -> None:
        """One step of the factors."""
        factors = self.factors()
        ahead = gradient_ahead(descent, summed(rows, [factors.get(task, 1.0) for task in tasks]), self._setting.primary)
        if ahead is not None:
            self._descend(tasks, rows, ahead, descent.rate)

    def _descend(self, tasks: list[str], rows: Sequence[Sequence[Tensor | None]], ahead: Sequence[Tensor | None], rate: float) -> None:
        slopes = torch.zeros_like(self._factors)
        for index, auxiliary in enumerate(self._setting.auxiliaries):
            if auxiliary in tasks:
                row = rows[tasks.index(auxiliary)]
                products = [(a * b).sum() for a, b in zip(row, ahead, strict=True) if a is not None and b is not None]
                slopes[index] = -rate * float(torch.stack(products).sum()) if products else 0.0
        if bool(torch.isfinite(slopes).all()):  # what is not finite is told where the step looks at the gradient
            self._factors.grad = slopes
            self._optimizer.step()  # pyright: ignore[reportUnknownMemberType]
            self._factors.grad = None
            with torch.no_grad():
                self._factors.clamp_(min=0)

    def state(self) -> dict[str, Tensor]:
        tensors, _ = optimizer_state(self._optimizer)
        own = {"factors": self._factors.detach(), "steps": torch.tensor(self._steps)}
        return own | {f"adam/{name}": tensor for name, tensor in tensors.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self._factors.copy_(state["factors"])
        self._steps = int(state["steps"])
        adam = {name.removeprefix("adam/"): tensor for name, tensor in state.items() if name.startswith("adam/")}
        restore_optimizer(self._optimizer, adam, {})


def gradient_ahead(descent: Descent, direction: Sequence[Tensor | None], primary: str) -> list[Tensor | None] | None:
    """The gradient of the primary's held-out loss after a step of plain descent; the weights are as before afterwards.

    Args:
        descent: The step, whose gradients were taken already.
        direction: Gradient of every weight, ``None`` where it stays.
        primary: The primary task; ``None`` is returned where it has no label.
    """
    before = [parameter.detach().clone() for parameter in descent.weights]
    try:
        with torch.no_grad():
            for parameter, gradient in zip(descent.weights, direction, strict=True):
                if gradient is not None:
                    parameter.sub_(gradient, alpha=descent.rate)
        loss = descent.held_out().get(primary)
        if loss is None or not loss.requires_grad:
            return None
        return rows_of([loss], descent.weights, descent.alphas).weights[0]
    finally:
        with torch.no_grad():
            for parameter, value in zip(descent.weights, before, strict=True):
                parameter.copy_(value)


def summed(rows: Sequence[Sequence[Tensor | None]], factors: Sequence[float]) -> list[Tensor | None]:
    """The sum of factor times row, ``None`` where no row has a gradient."""
    made: list[Tensor | None] = []
    for parts in zip(*rows, strict=True):
        present = [(part, factor) for part, factor in zip(parts, factors, strict=True) if part is not None]
        made.append(weighted([[part] for part, _ in present], [factor for _, factor in present])[0] if present else None)
    return made
