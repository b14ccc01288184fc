"""Auto-Lambda on quadratics: the derivative is that of finite differences, and its sign that of help and harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from graphnas.search.balance import Setting
from graphnas.search.balance.lookahead import Lookahead

TASKS = ("p", "help", "harm", "apart")


def losses_of(x: Tensor) -> dict[str, Tensor]:
    """From (0, 0) the primary wants to (1, 0)."""
    ends = {"p": [1.0, 0.0], "help": [2.0, 1.0], "harm": [-1.0, 0.5], "apart": [0.0, 0.0]}
    return {task: (x - torch.tensor(end)).square().sum() for task, end in ends.items()}


@pytest.fixture
def look(make: Any, describe: Any) -> Callable[..., tuple[Lookahead, nn.Parameter]]:
    def made(steps: int = 1, **fields: Any) -> tuple[Lookahead, nn.Parameter]:
        working = make("auto_lambda", lr=0.05, **fields).start(Setting("p", TASKS))
        x = nn.Parameter(torch.zeros(2))
        for _ in range(steps):
            assert working.backward(describe(losses_of(x), [x], held_out=lambda: {"p": losses_of(x)["p"]}))
            assert x.tolist() == [0.0, 0.0]
        return working, x

    return made


def test_what_helps_gains_weight_and_what_harms_loses_it(look: Any) -> None:
    working, x = look()
    assert working.factors() == pytest.approx({"help": 1.05, "harm": 0.95, "apart": 1.0}, abs=1e-6)
    assert_close(x.grad, torch.tensor([-2.0 - 4 * 1.05 + 2 * 0.95, -2 * 1.05 - 1.0 * 0.95]))
    working, _ = look(steps=40)
    assert working.factors()["harm"] == 0.0
    assert working.factors()["help"] == pytest.approx(1.6, abs=0.06)  # where it no longer helps


def test_the_derivative_is_that_of_finite_differences(look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Tensor] = []
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: found.append(self.param_groups[0]["params"][0].grad.clone()))
    look(weights={"help": 3})

    def ahead(factors: Tensor) -> Tensor:
        x = torch.zeros(2, requires_grad=True)
        losses = losses_of(x)
        total = losses["p"] + factors[0] * 3 * losses["help"] + factors[1] * losses["harm"] + factors[2] * losses["apart"]
        [gradient] = torch.autograd.grad(total, x, create_graph=True)
        return losses_of(x - 0.1 * gradient)["p"]

    factors = torch.ones(3, requires_grad=True)
    [expected] = torch.autograd.grad(ahead(factors), factors)
    assert_close(found, [expected])


def test_it_looks_ahead_in_every_nth_step(look: Any) -> None:
    first, _ = look(steps=1, every=3)
    third, _ = look(steps=3, every=3)
    fourth, _ = look(steps=4, every=3)
    assert first.factors() == third.factors() != fourth.factors()


def test_without_the_primary_it_is_the_sum_by_what_was_learned(look: Any, describe: Any) -> None:
    working, x = look(weights={"harm": 2})
    losses = {task: loss for task, loss in losses_of(x).items() if task in ("help", "harm")}
    working.backward(describe(losses, [x], held_out=lambda: pytest.fail("there is nothing to look at")))
    assert_close(x.grad, torch.tensor([-4 * 1.05 + 2 * 2 * 0.95, -2 * 1.05 - 2 * 0.95]))
