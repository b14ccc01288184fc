"""Every penalty: its ramp, its value, what it does to alphas; the authors' values from the golden files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors import safe_open
from torch.testing import assert_close

from graphnas.gates.base import Penalty
from graphnas.gates.entropy import Entropy
from graphnas.gates.l1 import L1
from graphnas.gates.proximal import Proximal
from graphnas.registry import penalties
from graphnas.schema import Named, Spec

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
NAMES = penalties.names()


class Rule(Spec):
    penalty: Annotated[Spec, Named(penalties, "type")]


def build(**fields: Any) -> Penalty:
    penalty = Rule.model_validate({"penalty": fields}).penalty
    assert isinstance(penalty, Penalty)
    return penalty


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str) -> None:
    penalty = build(type=name, strength=3, ramp=[0.1, 0.4])
    assert build(**penalty.model_dump(mode="json", by_alias=True)) == penalty


@pytest.mark.parametrize("name", NAMES)
def test_ramp(name: str) -> None:
    penalty = build(type=name, strength=10, ramp=[0.2, 0.6])
    assert [penalty.strength_at(t) for t in (0, 0.2, 0.4, 0.6, 1)] == pytest.approx([0, 0, 5, 10, 10])
    assert build(type=name).strength_at(0) == 1


@pytest.mark.parametrize("name", NAMES)
def test_of_no_links_is_zero(name: str) -> None:
    assert build(type=name)([], 1.0).item() == 0


def test_l1_is_the_mean_over_links() -> None:
    values = [torch.tensor([0.5, 0.25]), torch.tensor([-1.0, 0.0])]
    assert L1(strength=4)(values, 1.0).item() == 4 * (0.75 + 1) / 2


def test_entropy_is_highest_at_a_half_and_decides() -> None:
    gates = torch.tensor([0.5, 0.3, 0.0, 1.0], requires_grad=True)
    value = Entropy(strength=2)([gates], 1.0)
    expected = 2 * (math.log(2) - 0.3 * math.log(0.3) - 0.7 * math.log(0.7)) / 4
    assert value.item() == pytest.approx(expected, abs=1e-5)
    value.backward()
    assert gates.grad is not None
    assert gates.grad[1] > 0  # below a half, down
    assert gates.grad.isfinite().all()


@given(
    alpha=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    rate=st.floats(0, 1),
    strength=st.floats(0, 10),
    links=st.integers(1, 5),
)
def test_proximal_step(alpha: list[float], rate: float, strength: float, links: int) -> None:
    parameter = torch.nn.Parameter(torch.tensor(alpha, dtype=torch.float64))
    Proximal(strength=strength).shrink(parameter, learning_rate=rate, progress=1.0, links=links)
    expected = (torch.tensor(alpha, dtype=torch.float64) - rate * strength / links).clamp_min(0)
    assert_close(parameter.detach(), expected, rtol=0, atol=0)


def test_proximal_adds_nothing_to_the_loss_and_waits_for_its_ramp() -> None:
    alpha = torch.tensor([0.4], requires_grad=True)
    penalty = Proximal(strength=5, ramp=(0.5, 0.8))
    assert penalty([alpha], 1.0).item() == 0
    penalty.shrink(alpha, learning_rate=1.0, progress=0.5, links=1)
    assert alpha.item() == pytest.approx(0.4)
    penalty.shrink(alpha, learning_rate=1.0, progress=0.8, links=1)
    assert alpha.item() == 0  # exactly


@pytest.mark.parametrize("name", ["l1", "entropy"])
def test_others_shrink_nothing(name: str) -> None:
    alpha = torch.tensor([0.4])
    build(type=name, strength=9).shrink(alpha, learning_rate=1.0, progress=1.0, links=1)
    assert alpha.item() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("fields", "message", "fix"),
    [
        ({"type": "entrophy"}, "unknown penalty 'entrophy'", "did you mean 'entropy'?"),
        ({"type": "entropy", "of": "contribution"}, "entropy is that of a gate; a contribution is no probability", "of: gate"),
        ({"type": "proximal", "of": "contribution"}, "a proximal step acts on the gate itself", "of: gate"),
        ({"type": "l1", "ramp": [0.5, 0.2]}, "ramp ends at 0.2 before it starts at 0.5", "ramp: [START, END], shares of training"),
        ({"type": "l1", "strength": -1}, "Input should be greater than or equal to 0", None),
    ],
)
def test_bad_parameters(fields: dict[str, Any], message: str, fix: str | None) -> None:
    with pytest.raises(ValidationError) as caught:
        build(**fields)
    [error] = caught.value.errors()
    assert (error["msg"], error.get("ctx", {}).get("fix")) == (message, fix)


@pytest.mark.skipif(not (GOLDEN / "sigmoid.safetensors").exists(), reason="the golden files are not beside this checkout")
def test_the_authors_values() -> None:
    with safe_open(GOLDEN / "sigmoid.safetensors", "pt") as file:
        expected = json.loads(file.metadata()["golden"])["regulariser"]
        mask = file.get_tensor("edges/mask").bool()
        into_primary = [gate[None].sigmoid() for gate in file.get_tensor("alpha/aux_to_primary")[mask]]
        from_primary = [gate[None].sigmoid() for gate in file.get_tensor("alpha/primary_to_aux")[mask]]
    l1, entropy = L1(strength=1000, ramp=(0.5, 0.8)), Entropy(strength=10, ramp=(0.2, 0.5))
    for step, (want_entropy, want_l1) in zip(expected["steps"], expected["entropy_and_l1"], strict=True):
        assert entropy(from_primary, step / 1000).item() == pytest.approx(want_entropy, rel=1e-5)
        assert l1(into_primary, step / 1000).item() == pytest.approx(want_l1, rel=1e-5)
