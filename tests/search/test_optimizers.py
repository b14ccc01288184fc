"""torch's optimizers by name, groups by globs, and learning rates without state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from graphnas.search.optimizers import (
    build_optimizer,
    learning_rate_factor,
    optimizer_state,
    restore_optimizer,
    set_learning_rates,
    unmatched,
)
from graphnas.spec.search import Optimizer, Schedule


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Module()
    net.branches = nn.ModuleDict({"normals": nn.ModuleDict({"stem": nn.Linear(3, 4), "head": nn.Linear(4, 2)})})
    return net


def test_groups_by_glob_with_and_without_the_branch() -> None:
    spec = Optimizer.model_validate(
        {
            "type": "adamw",
            "lr": 3e-3,
            "weight_decay": 0.05,
            "groups": {"branches.normals.head.*": {"lr": 1e-3}, "**.bias": {"weight_decay": 0}},
        }
    )
    made = build_optimizer(spec, network().named_parameters())
    assert isinstance(made, torch.optim.AdamW)
    found = {tuple(group["param_names"]): (group["lr"], group["weight_decay"], group["initial_lr"]) for group in made.param_groups}
    assert found == {
        ("branches.normals.head.weight", "branches.normals.head.bias"): (1e-3, 0.05, 1e-3),
        ("branches.normals.stem.bias",): (3e-3, 0, 3e-3),
        ("branches.normals.stem.weight",): (3e-3, 0.05, 3e-3),
    }


def test_globs_that_match_nothing_are_found() -> None:
    groups = {"haed.weight": {"lr": 1e-3}, "head.*": {}, "branches.**.bias": {}}
    spec = Optimizer.model_validate({"type": "sgd", "lr": 0.1, "groups": groups})
    assert unmatched(spec, [name for name, _ in network().named_parameters()]) == ["haed.weight"]


def test_parameters_that_the_user_froze_are_left_out() -> None:
    net = network()
    net.get_parameter("branches.normals.stem.weight").requires_grad_(False)
    made = build_optimizer(Optimizer.model_validate({"type": "adam", "lr": 0.1}), net.named_parameters())
    assert "branches.normals.stem.weight" not in made.param_groups[0]["param_names"]


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop", "nadam", "radam", "adagrad", "adadelta", "adamax", "asgd", "rprop"])
def test_state_survives_exactly(name: str) -> None:
    options: dict[str, Any] = {"momentum": 0.9} if name in ("sgd", "rmsprop") else {}
    spec = Optimizer.model_validate({"type": name, "lr": 0.01, **options})

    def steps(net: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            torch.stack([(parameter - 1).square().sum() for parameter in net.parameters()]).sum().backward()
            optimizer.step()

    straight = network()
    optimizer = build_optimizer(spec, straight.named_parameters())
    steps(straight, optimizer, 3)
    weights = {key: tensor.clone() for key, tensor in straight.state_dict().items()}
    tensors, values = optimizer_state(optimizer)
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    steps(straight, optimizer, 3)
    resumed = network()
    resumed.load_state_dict(weights)
    again = build_optimizer(spec, resumed.named_parameters())
    restore_optimizer(again, tensors, values)
    steps(resumed, again, 3)
    assert all(torch.equal(tensor, resumed.state_dict()[key]) for key, tensor in straight.state_dict().items())


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("cosine", [1, 0.853553, 0.5, 0.146447]),
        ({"type": "cosine", "final": 0.1}, [1, 0.868198, 0.55, 0.231802]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ({"type": "poly", "power": 2}, [1, 0.5625, 0.25, 0.0625]),
        ({"type": "step", "milestones": [0.5, 0.75], "gamma": 0.1}, [1, 1, 0.1, 0.01]),
        ({"type": "linear", "warmup": 0.5}, [1 / 3, 2 / 3, 1, 0.5]),
    ],
)
def test_schedules(schedule: Any, expected: list[float]) -> None:
    made = Schedule.model_validate(schedule)
    assert [learning_rate_factor(made, step, 4) for step in range(4)] == pytest.approx(expected, abs=1e-6)


@given(
    st.sampled_from(["constant", "cosine", "poly", "linear"]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 50),
)
def test_factors_stay_between_zero_and_one_and_rise_only_in_warmup(kind: str, warmup: float, final: float, steps: int) -> None:
    schedule = Schedule.model_validate({"type": kind, "warmup": warmup, "final": final})
    factors = [learning_rate_factor(schedule, step, steps) for step in range(steps)]
    assert all(0 <= factor <= 1 for factor in factors)
    rises = [step for step in range(1, steps) if factors[step] > factors[step - 1] + 1e-12]
    assert all(step - 1 < warmup * steps for step in rises)


def test_rates_are_those_of_the_groups_times_the_factor() -> None:
    spec = Optimizer.model_validate({"type": "sgd", "lr": 0.1, "schedule": "linear", "groups": {"head.*": {"lr": 0.01}}})
    made = build_optimizer(spec, network().named_parameters())
    assert set_learning_rates(made, spec.schedule, 3, 4) == pytest.approx(0.025)
    assert [group["lr"] for group in made.param_groups] == pytest.approx([0.0025, 0.025])


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_fused_kernels_step_alike(kind: str) -> None:
    """In float64, ten steps; a spec may choose another implementation."""
    found: dict[str, list[torch.Tensor]] = {}
    for chosen in ({}, {"fused": False}, {"foreach": True}):
        net = network().double()
        made = build_optimizer(Optimizer.model_validate({"type": kind, "lr": 0.1, "weight_decay": 0.1, **chosen}), net.named_parameters())
        assert bool(made.param_groups[0]["fused"]) == (chosen == {})
        torch.manual_seed(1)
        for _ in range(10):
            for parameter in net.parameters():
                parameter.grad = torch.randn_like(parameter)
            made.step()
        found[str(chosen)] = [parameter.detach() for parameter in net.parameters()]
    for one, other, third in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(one, third, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", ["rmsprop", "adagrad"])
def test_other_optimizers_are_torchs_own_choice(kind: str) -> None:
    made = build_optimizer(Optimizer.model_validate({"type": kind, "lr": 0.1}), network().named_parameters())
    assert not made.param_groups[0].get("fused")


@pytest.mark.parametrize("saved_fused", [False, True])
def test_a_checkpoint_fits_either_implementation(saved_fused: bool) -> None:
    """What one remembers the other goes on from."""

    def spec(fused: bool) -> Optimizer:
        return Optimizer.model_validate({"type": "adamw", "lr": 0.1, "fused": fused})

    def step(net: nn.Module, made: torch.optim.Optimizer) -> None:
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, 0.5)
        made.step()

    net, other = network().double(), network().double()
    made = build_optimizer(spec(saved_fused), net.named_parameters())
    step(net, made)
    other.load_state_dict(net.state_dict())
    again = build_optimizer(spec(not saved_fused), other.named_parameters())
    tensors, values = optimizer_state(made)
    restore_optimizer(again, {name: tensor.clone() for name, tensor in tensors.items()}, values)
    for network_, optimizer in ((net, made), (other, again)):
        step(network_, optimizer)
    for one, another in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, another, rtol=1e-13, atol=1e-13)
