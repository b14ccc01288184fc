"""Every gate function: starts where it is told to, passes gradients, projects; whole messages for what a gate can't be."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.testing import assert_close

from graphnas.gates.base import GateFunction
from graphnas.gates.clamp import Clamp01, Clamp11
from graphnas.gates.fixed import Fixed
from graphnas.gates.gumbel import Annealed, Gumbel
from graphnas.gates.projected import Projected01
from graphnas.gates.sigmoid import Sigmoid
from graphnas.gates.softmax import Softmax
from graphnas.registry import gates
from graphnas.schema import Named, Spec

NAMES = gates.names()


class Rule(Spec):
    gate: Annotated[Spec, Named(gates, "function", default="sigmoid")]


def build(**fields: Any) -> GateFunction:
    gate = Rule.model_validate({"gate": fields}).gate
    assert isinstance(gate, GateFunction)
    return gate


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("candidates", [1, 3])
def test_starts_at_initial(name: str, candidates: int) -> None:
    gate = build(function=name)
    alpha = torch.full((candidates,), gate.inverse(gate.initial, candidates))
    expected = 1 / candidates if name in ("softmax", "gumbel") else gate.initial
    assert_close(gate(alpha, training=False), torch.full((candidates,), expected))


@given(name=st.sampled_from(["sigmoid", "clamp01", "clamp11", "projected01", "fixed"]), initial=st.floats(0.001, 0.999))
def test_inverse_gives_any_initial(name: str, initial: float) -> None:
    gate = build(function=name, initial=initial)
    alpha = torch.tensor([gate.inverse(initial, 1)], dtype=torch.float64)
    assert_close(gate(alpha), torch.tensor([initial], dtype=torch.float64))


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_and_dtype(name: str) -> None:
    gate = build(function=name)
    assert build(**gate.model_dump(mode="json", by_alias=True)) == gate
    assert gate(torch.zeros(2, 3, dtype=torch.float64)).dtype == torch.float64
    assert gate(torch.zeros(2, 3)).shape == (2, 3)


@pytest.mark.parametrize("name", ["sigmoid", "clamp01", "clamp11", "projected01", "softmax"])
def test_gradient_inside(name: str) -> None:
    gate = build(function=name)
    alpha = torch.tensor([0.2, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gate, (alpha,))


@pytest.mark.parametrize(("gate", "outside"), [(Clamp01(), [-0.1, 1.1]), (Clamp11(), [-1.1, 1.1])])
def test_clamps_pass_no_gradient_outside(gate: GateFunction, outside: list[float]) -> None:
    alpha = torch.tensor(outside, requires_grad=True)
    gate(alpha).sum().backward()
    assert alpha.grad is not None
    assert alpha.grad.tolist() == [0, 0]


def test_projected01_comes_back_from_the_border() -> None:
    alpha = torch.nn.Parameter(torch.tensor([-0.3, 0.4, 1.7]))
    gate = Projected01()
    gate.project(alpha)
    assert alpha.tolist() == pytest.approx([0, 0.4, 1])
    gate(alpha).sum().backward()
    assert alpha.grad is not None
    assert alpha.grad.tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "projected01"])
def test_others_project_nothing(name: str) -> None:
    alpha = torch.tensor([-3.0, 0.5, 3.0])
    build(function=name).project(alpha)
    assert alpha.tolist() == [-3, 0.5, 3]


def test_softmax_shares_one_among_candidates() -> None:
    values = Softmax()(torch.randn(5, 4))
    assert_close(values.sum(-1), torch.ones(5))


def test_gumbel_draws_while_training_only() -> None:
    alpha, gate = torch.tensor([1.0, 2.0, 0.5]), Gumbel(temperature=Annealed(start=0.5))
    assert_close(gate(alpha, training=False), (alpha / 0.5).softmax(-1))
    first, second = gate(alpha), gate(alpha)
    assert not torch.equal(first, second)
    assert_close(first.sum(), torch.tensor(1.0))
    wins = torch.stack([Gumbel(temperature=Annealed(start=0.1))(alpha) for _ in range(4000)]).argmax(-1).bincount(minlength=3) / 4000
    assert_close(wins, alpha.softmax(-1), atol=0.03, rtol=0)  # the Gumbel-max trick


def test_fixed_is_not_trained() -> None:
    alpha = torch.tensor([0.3], requires_grad=True)
    assert not Fixed.trainable
    assert Fixed().initial == 1
    assert not Fixed(initial=0.3)(alpha).requires_grad


@pytest.mark.parametrize(
    ("fields", "loc", "message", "fix"),
    [
        ({"function": "sigmoidal"}, ("gate", "function"), "unknown gate function 'sigmoidal'", "did you mean 'sigmoid'?"),
        ({"function": "gumbel", "temprature": 1}, ("gate", "temprature"), "unknown field 'temprature'", "did you mean 'temperature'?"),
        (
            {"function": "softmax", "initial": 0.3},
            ("gate", "initial"),
            "these gates start equal, at 1 / (number of operations)",
            "leave initial out",
        ),
        ({"initial": 0}, ("gate", "initial"), "Input should be greater than 0", None),
        ({"function": "clamp11", "initial": -2.0}, ("gate", "initial"), "Input should be greater than or equal to -1", None),
    ],
)
def test_bad_parameters(fields: dict[str, Any], loc: tuple[str, ...], message: str, fix: str | None) -> None:
    with pytest.raises(ValidationError) as caught:
        build(**fields)
    [error] = caught.value.errors()
    assert (error["loc"], error["msg"], error.get("ctx", {}).get("fix")) == (loc, message, fix)


def test_sigmoid_at_its_end_is_exact() -> None:
    alpha = torch.tensor([-1e30], requires_grad=True)
    gate = Sigmoid()(alpha)
    gate.backward()
    assert gate.item() == 0
    assert alpha.grad is not None
    assert alpha.grad.item() == 0
