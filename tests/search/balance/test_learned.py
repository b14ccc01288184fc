"""Weights that are parameters: their gradients by hand, where they end, and which optimizer trains them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from graphnas.search.balance import Setting
from graphnas.search.optimizers import build_optimizer
from graphnas.spec.optimizer import Optimizer

SETTING = Setting("p", ("p", "a"))


@pytest.mark.parametrize(("name", "own", "scale"), [("uncertainty", [-2.5, 0.5], 0.5), ("imtl_l", [5.0, -1.0], 1.0)])
def test_gradients_at_the_start(name: str, own: list[float], scale: float, make: Any, describe: Any) -> None:
    """Half of loss exp(-s) + s; and loss exp(s) - s, at s = 0, of losses 6 and 0."""
    working = make(name, weights={"p": 2}).start(SETTING)
    x = nn.Parameter(torch.tensor([3.0]))
    assert working.backward(describe({"p": x.sum(), "a": (x - 3).sum()}, [x]))
    assert x.grad is not None
    assert x.grad.item() == scale * 3
    assert [float(parameter.grad) for parameter in working.named_parameters().values()] == own


@pytest.mark.parametrize(("name", "sign"), [("uncertainty", 1), ("imtl_l", -1)])
def test_constant_losses_end_at_equal_shares(name: str, sign: int, make: Any, describe: Any) -> None:
    working = make(name).start(SETTING)
    optimizer = torch.optim.SGD(list(working.named_parameters().values()), lr=0.2)
    for _ in range(300):
        optimizer.zero_grad()
        working.backward(describe({"p": torch.tensor(4.0), "a": torch.tensor(0.5)}, []))
        optimizer.step()
    found = [float(parameter.detach()) for parameter in working.named_parameters().values()]
    assert found == pytest.approx([sign * math.log(4), sign * math.log(0.5)], abs=1e-4)


@pytest.mark.parametrize("name", ["uncertainty", "imtl_l"])
def test_a_task_without_labels_leaves_its_parameter_alone(name: str, make: Any, describe: Any) -> None:
    working = make(name).start(SETTING)
    assert working.backward(describe({"a": torch.tensor(3.0)}, []))
    first, second = working.named_parameters().values()
    assert first.grad is None
    assert second.grad is not None


def test_the_optimizer_of_the_weights_trains_them_without_weight_decay(make: Any) -> None:
    working = make("uncertainty").start(SETTING)
    weight = nn.Parameter(torch.zeros(1))
    spec = Optimizer.model_validate({"type": "adamw", "lr": 0.5, "weight_decay": 0.1})
    optimizer = build_optimizer(spec, [("branches.p.w", weight)], working.named_parameters().items())
    assert [(group["param_names"], group["weight_decay"], group["lr"]) for group in optimizer.param_groups] == [
        (["balance.p.log_var", "balance.a.log_var"], 0.0, 0.5),
        (["branches.p.w"], 0.1, 0.5),
    ]
