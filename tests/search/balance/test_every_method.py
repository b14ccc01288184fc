"""Every balance with every shipped space: an aggregator sees only what several losses reach, and a task without labels is left out."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import graphnas as gn
from graphnas.data import Batch
from graphnas.registry import balances
from graphnas.search.balance import Setting
from graphnas.search.balance.gradients import GradientBalance
from graphnas.search.parts import Parts
from graphnas.search.precision import Precision
from graphnas.search.step import Learner, alternate_step, joint_step, task_losses
from graphnas.spec import presets
from tests.builders import randomize
from tests.search.test_parts import CPU, Net, Square, X

BALANCES = [name for name in balances.names() if ":" not in name]
RATE, WEIGHTS = 1e-3, {"p": 1, "q": 3, "r": 1}


@cache
def woven(name: str) -> gn.Supernet:
    torch.manual_seed(0)
    branches = {task: gn.Branch.from_module(Net("plain"), taps={"s1": "a", "s2": "b"}, example=X) for task in ("p", "q", "r")}
    return randomize(gn.weave(branches, primary="p", space=gn.load_spec(name))).train()


def learner_of(net: gn.Supernet, balance: str, precision: Precision) -> Learner:
    chosen: Any = balances.get(balance).model_validate({"type": balance, "weights": WEIGHTS})
    alphas = list(net.alpha_parameters())
    return Learner(
        network=net,
        tasks={task: Square() for task in net.tasks},  # pyright: ignore[reportArgumentType]
        balance=chosen.start(Setting("p", net.tasks)),
        weights=torch.optim.SGD(net.weight_parameters(), lr=RATE),
        alphas=torch.optim.SGD(alphas, lr=RATE) if alphas else None,
        precision=precision,
        parts=Parts(net, "exact", CPU),
    )


def batch(*tasks: str, dtype: torch.dtype) -> Batch:
    targets = {task: torch.full((3, 2, 6, 6), 0.5, dtype=dtype) for task in tasks}
    return Batch({"image": X.to(dtype)}, targets, {task: torch.tensor([0, 1, 3]) for task in tasks}, ("a", "b", "c", "d"))


def rows_of(net: gn.Supernet, one: Batch) -> dict[str, list[Tensor]]:
    """Parameter -> the gradients of the weighted losses that reach it; gates that are drawn are those of the first draw."""
    torch.manual_seed(1)
    losses = task_losses(net(**one.inputs), one, learner_of(net, "sum", Precision(CPU)).tasks, CPU)
    named = {name: value for name, value in net.named_parameters() if value.requires_grad}
    found: dict[str, list[Tensor]] = {name: [] for name in named}
    for task, loss in losses.items():
        rows = torch.autograd.grad(loss * WEIGHTS[task], list(named.values()), retain_graph=True, allow_unused=True)
        for name, row in zip(named, rows, strict=True):
            if row is not None:
                found[name].append(row)
    return found


@pytest.mark.nightly
@pytest.mark.parametrize("present", ["pqr", "pr", "q"])
@pytest.mark.parametrize("space", presets("search_space"))
def test_what_one_loss_reaches_gets_its_plain_gradient(space: str, present: str) -> None:
    """And alphas the plain sum of all; by every balance that makes one gradient of several."""
    net = copy.deepcopy(woven(space)).double()
    one = batch(*present, dtype=torch.float64)
    rows, alphas = rows_of(net, one), {id(alpha) for alpha in net.alpha_parameters()}
    for name in (name for name in BALANCES if issubclass(balances.get(name), GradientBalance)):
        trained = copy.deepcopy(net)
        torch.manual_seed(1)
        joint_step(learner_of(trained, name, Precision(CPU)), one, 0.5)
        found = dict(trained.named_parameters())
        for key, before in net.named_parameters():
            if key not in rows:
                assert torch.equal(found[key], before), key
            elif len(rows[key]) < 2 or id(before) in alphas:
                expected = before - RATE * sum(rows[key], torch.zeros_like(before))
                torch.testing.assert_close(found[key], expected, rtol=1e-9, atol=1e-12, msg=f"{key} by {name}")


@pytest.mark.nightly
@pytest.mark.parametrize("space", presets("search_space"))
def test_joint_and_alternating_in_bfloat16(space: str) -> None:
    """What no loss of the batches reaches stays as it is; both heads that have labels move, and everything stays finite."""
    net, one = woven(space), batch("p", "r", dtype=torch.float32)
    reached = {name for name, rows in rows_of(net, one).items() if any(bool(row.any()) for row in rows)}
    for name in BALANCES:
        for updates in ("joint", "alternate") if list(net.alpha_parameters()) else ("joint",):
            trained = copy.deepcopy(net)
            learner = learner_of(trained, name, Precision(CPU, torch.bfloat16))
            for _ in range(2):
                losses = joint_step(learner, one, 0.5) if updates == "joint" else alternate_step(learner, one, one, 0.5)
                assert set(losses) == {"p", "r"}
            before = dict(net.named_parameters())
            changed = {key for key, value in trained.named_parameters() if not torch.equal(value, before[key])}
            assert changed <= reached, (name, updates)
            assert {"branches.p.head.weight", "branches.r.head.weight"} <= changed, (name, updates)
            assert all(bool(torch.isfinite(value).all()) for value in trained.state_dict().values()), (name, updates)
