"""How fast losses fall: equal to torchjd's where all tasks have labels, and right where some have none."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from graphnas.search.balance import Setting

SETTING = Setting("p", ("p", "a"))


def test_dwa_is_that_of_torchjd(make: Any, describe: Any) -> None:
    from torchjd.scalarization import DWA

    working, theirs = make("dwa", temperature=0.7).start(SETTING), DWA(0.7)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        for _ in range(3):
            x = nn.Parameter(torch.rand(2, generator=generator) + 0.1)
            working.backward(describe({"p": x[0], "a": x[1]}, [x]))
            [expected] = torch.autograd.grad(theirs(x), x)
            assert_close(x.grad, expected)
        working.after_epoch()
        theirs.step()


def test_dwa_by_hand_with_missing_labels(make: Any, describe: Any) -> None:
    """Means 4 then 2 of one task, 1 then 1 of the other, which has labels in every other batch."""
    working = make("dwa", temperature=1.0).start(SETTING)
    for epoch in ([3.0, 5.0], [2.0, 2.0]):
        for step, loss in enumerate(epoch):
            working.backward(describe({"p": torch.tensor(loss)} | ({"a": torch.tensor(1.0)} if step else {}), []))
        working.after_epoch()
    exact = 2 * torch.softmax(torch.tensor([0.5, 1.0], dtype=torch.float64), 0)
    assert_close(working.factors(), exact)


def test_dwa_of_a_task_that_had_no_labels_yet(make: Any, describe: Any) -> None:
    working = make("dwa").start(Setting("p", ("p", "a", "b")))
    for loss in (4.0, 2.0):
        working.backward(describe({"p": torch.tensor(loss), "a": torch.tensor(1.0)}, []))
        working.after_epoch()
    p, a, b = working.factors().tolist()
    assert p + a == pytest.approx(2.0)
    assert (p < a, b) == (True, 1.0)


def quadratics(x: Tensor) -> dict[str, Tensor]:
    return {"p": (x[0] - 1) ** 2 + 0.5, "a": 10 * (x[1] + 1) ** 2 + 0.1}


def test_famo_is_that_of_torchjd(make: Any, describe: Any) -> None:
    from torchjd.scalarization import FAMO

    working, theirs = make("famo").start(SETTING), FAMO(2)
    x, y = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    for _ in range(10):
        x.grad = y.grad = None
        descent = describe(quadratics(x), [x], again=lambda: quadratics(x))
        working.backward(descent)
        theirs(torch.stack(list(quadratics(y).values()))).backward()
        assert x.grad is not None
        assert y.grad is not None
        assert_close(x.grad, y.grad)
        with torch.no_grad():
            x.sub_(0.05 * x.grad)
            y.sub_(0.05 * y.grad)
        working.after_step(descent)
        theirs.update(torch.stack(list(quadratics(y).values())))
    assert_close(working.state()["logits"], theirs._w.detach())
    assert working.state()["logits"].abs().min() > 0.01


def test_famo_first_step_by_hand(make: Any, describe: Any) -> None:
    """Equal shares of the gradients of log loss: g_i / loss_i, over the sum of 1 / loss_i."""
    working = make("famo").start(SETTING)
    x = nn.Parameter(torch.tensor([2.0, 0.5]))
    working.backward(describe({"p": x[0], "a": x[1]}, [x]))
    assert_close(x.grad, torch.tensor([0.5, 2.0]) / 2.5)


def test_famo_with_one_loss_is_plain_and_learns_nothing(make: Any, describe: Any) -> None:
    working = make("famo", weights={"a": 3}).start(SETTING)
    x = nn.Parameter(torch.tensor([2.0]))
    descent = describe({"a": x.sum()}, [x], again=lambda: pytest.fail("nothing to learn"))
    working.backward(descent)
    working.after_step(descent)
    assert x.grad is not None
    assert x.grad.item() == 3
    assert working.state()["logits"].tolist() == [0.0, 0.0]
    assert math.isfinite(float(working.state()["logits"].sum()))
