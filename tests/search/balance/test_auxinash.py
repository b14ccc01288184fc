"""AuxiNash: with equal preferences it is Nash's bargaining; their derivative is that of finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from graphnas.search.balance import Setting
from graphnas.search.balance.auxinash import Learning

TASKS = ("p", "help", "harm")


def losses_of(x: Tensor) -> dict[str, Tensor]:
    """From (0, 0, 0) the primary wants to (1, 0, 0)."""
    ends = {"p": [1.0, 0.0, 0.3], "help": [2.0, 1.0, 0.0], "harm": [-1.0, 0.5, 2.0]}
    return {task: (x - torch.tensor(end)).square().sum() for task, end in ends.items()}


@pytest.fixture
def look(make: Any, describe: Any) -> Callable[..., tuple[Learning, nn.Parameter]]:
    def made(steps: int = 1, rate: float = 0.1, **fields: Any) -> tuple[Learning, nn.Parameter]:
        working = make("auxinash", **fields).start(Setting("p", TASKS))
        x = nn.Parameter(torch.zeros(3))
        for _ in range(steps):
            assert working.backward(describe(losses_of(x), [x], rate=rate, held_out=lambda: {"p": losses_of(x)["p"]}))
            assert x.tolist() == [0.0, 0.0, 0.0]
        return working, x

    return made


@pytest.mark.parametrize("max_norm", [0, 1.0, 0.3])
def test_at_first_it_is_nash(max_norm: float, make: Any, gradient: Any) -> None:
    rows = {"p": [1.0, 0.2, 0.0], "a": [-0.5, 1.0, 3.0], "b": [0.1, 2.0, -0.3]}
    found = gradient(make("auxinash", lr=1e-12, max_norm=max_norm), rows)
    assert_close(found, gradient(make("nash_mtl", max_norm=max_norm), rows), rtol=1e-5, atol=1e-6)


def test_who_helps_the_primary_more_gets_more_say(look: Any) -> None:
    working, _ = look(steps=30, lr=0.05)
    said = working.preferences()
    assert sum(said.values()) == pytest.approx(3)
    assert said["p"] > 1.05 > said["help"] > 0.95 > said["harm"], said


def test_the_derivative_is_that_of_finite_differences(look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Tensor] = []
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: found.append(self.param_groups[0]["params"][0].grad.clone()))
    working, _ = look(max_norm=1.0)

    def ahead(logits: list[float]) -> float:
        working.restore({**{key: value for key, value in working.state().items() if "adam" not in key}, "logits": torch.tensor(logits)})
        found.clear()
        x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        rows = torch.stack([torch.autograd.grad(loss, x)[0] for loss in losses_of(x).values()])
        weights = working._bargain(rows @ rows.T, working._said(TASKS).detach()) / 3**0.5
        return float(losses_of(x.detach() - 0.1 * weights @ rows)["p"])

    exact = found[0]
    sides = [[(ahead([sign * 1e-4 * (i == j) for j in range(3)])) for sign in (1, -1)] for i in range(3)]
    assert_close(exact, torch.tensor([(up - down) / 2e-4 for up, down in sides], dtype=torch.float64), rtol=1e-4, atol=1e-7)
    assert exact.abs().max() > 1e-3


def test_it_looks_ahead_in_every_nth_step(look: Any) -> None:
    first, _ = look(steps=1, every=3)
    third, _ = look(steps=3, every=3)
    fourth, _ = look(steps=4, every=3)
    assert first.preferences() == third.preferences() != fourth.preferences()
