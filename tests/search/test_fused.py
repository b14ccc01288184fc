"""Fused kernels on the CPU, whatever the memory format of parameters and gradients: the plain implementation's steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphnas.search.fused import is_dense
from graphnas.search.optimizers import build_optimizer, optimizer_state, restore_optimizer
from graphnas.spec.search import Optimizer

SHAPES = [(6, 4, 3, 3), (5, 4), (7,), ()]
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def drawn(number: int, memory_format: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(number)
    made = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in SHAPES]
    return [value.contiguous(memory_format=FORMATS[memory_format]) if value.dim() == 4 else value for value in made]


def named(memory_format: str) -> list[tuple[str, nn.Parameter]]:
    return [(f"p{i}", nn.Parameter(value)) for i, value in enumerate(drawn(0, memory_format))]


def new(kind: str, parameters: str, **options: Any) -> tuple[list[tuple[str, nn.Parameter]], torch.optim.Optimizer]:
    pairs = named(parameters)
    return pairs, build_optimizer(Optimizer.model_validate({"type": kind, "lr": 0.1, "weight_decay": 0.1, **options}), pairs)


def after_steps(kind: str, parameters: str, gradients: str, made: Any = None, steps: range = range(1, 4), **options: Any) -> Any:
    pairs, optimizer = made or new(kind, parameters, **options)
    for step in steps:
        for (_, parameter), gradient in zip(pairs, drawn(step, gradients), strict=True):
            parameter.grad = gradient
        optimizer.step()
    return pairs, optimizer


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("parameters", FORMATS)
@pytest.mark.parametrize("gradients", FORMATS)
def test_steps_are_those_of_the_plain_implementation(kind: str, parameters: str, gradients: str) -> None:
    also: dict[str, Any] = {"momentum": 0.9} if kind == "sgd" else {}
    pairs, made = after_steps(kind, parameters, gradients, **also)
    plain, _ = after_steps(kind, "contiguous", "contiguous", fused=False, foreach=False, **also)
    assert bool(made.param_groups[0]["fused"]) == (kind != "sgd" or parameters == "contiguous")
    for (_, found), (_, expected) in zip(pairs, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_amsgrad_too(kind: str) -> None:
    pairs, _ = after_steps(kind, "channels_last", "contiguous", amsgrad=True)
    plain, _ = after_steps(kind, "contiguous", "contiguous", amsgrad=True, fused=False, foreach=False)
    for (_, found), (_, expected) in zip(pairs, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_parameters_and_what_is_remembered_of_them_keep_their_format_and_are_restored() -> None:
    whole, _ = after_steps("adam", "channels_last", "channels_last")
    pairs, optimizer = after_steps("adam", "channels_last", "channels_last", steps=range(1, 2))
    assert pairs[0][1].is_contiguous(memory_format=torch.channels_last)
    assert optimizer.state[pairs[0][1]]["exp_avg"].is_contiguous(memory_format=torch.channels_last)
    again = build_optimizer(Optimizer.model_validate({"type": "adam", "lr": 0.1, "weight_decay": 0.1}), pairs)
    tensors, values = optimizer_state(optimizer)
    restore_optimizer(again, {name: value.contiguous() for name, value in tensors.items()}, values)
    after_steps("adam", "channels_last", "channels_last", (pairs, again), steps=range(2, 4))
    for (_, found), (_, expected) in zip(pairs, whole, strict=True):
        assert torch.equal(found, expected)


def test_what_has_gaps_in_memory_is_left_to_the_plain_implementation() -> None:
    gaps = nn.Parameter(torch.zeros(4, 6)[:, ::2])
    assert not is_dense(gaps)
    made = build_optimizer(Optimizer.model_validate({"type": "adam", "lr": 0.1}), [("gaps", gaps)])
    assert not made.param_groups[0]["fused"]
