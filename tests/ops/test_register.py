"""Operations and networks of a user's own appear like ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from graphnas import registry
from graphnas.errors import GraphNASError
from graphnas.graph.types import Image, ValueType, Vector
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.elementwise import Elementwise
from graphnas.ops.register import register_network, register_operation
from graphnas.schema import PositiveNumber
from tests.ops.test_contract import build


@pytest.fixture(autouse=True)
def _forgotten_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in (registry.operations, registry.link_operations, registry.networks):
        monkeypatch.setattr(names, "_loaded", dict(names._loaded))


class Scale(Elementwise):
    """Twice the value, or so."""

    op: Literal["scale"] = "scale"
    by: PositiveNumber = 2.0

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.Identity()


class Tiny(nn.Module):
    """One convolution."""

    def __init__(
        self,
        width: int,
        depth: int | None = None,
        rates: list[float] | None = None,
        norm: type[nn.Module] = nn.BatchNorm2d,
        name: str = "tiny",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


def test_an_operation_of_the_users() -> None:
    assert register_operation(Scale) is Scale
    operation = build("scale", {"by": 3.0})
    assert operation == Scale(by=3.0)
    assert "scale" in registry.operations.names()
    with pytest.raises(ValidationError, match="Input should be greater than 0"):
        build("scale", {"by": 0})


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (
            nn.ReLU,
            (
                "<class 'torch.nn.modules.activation.ReLU'> is no operation\n"
                "  fix: derive it from graphnas.ops.base.Operation or LinkOperation"
            ),
        ),
        (Elementwise, 'Elementwise has no name\n  fix: op: Literal["my_operation"] = "my_operation"'),
    ],
)
def test_what_is_no_operation(cls: type[Operation], message: str) -> None:
    with pytest.raises(GraphNASError) as caught:
        register_operation(cls)
    assert str(caught.value) == message


def test_an_unfinished_operation_is_refused() -> None:
    class Unfinished(Operation):
        op: Literal["unfinished"] = "unfinished"

    with pytest.raises(GraphNASError) as caught:
        register_operation(Unfinished)
    assert str(caught.value) == "Unfinished does not define build, infer, macs, parameter_count\n  fix: define all methods of an operation"


def test_a_network_of_the_users() -> None:
    register_network("tiny", Tiny)
    operation = build("tiny", {"width": 4, "rates": [0.1, 0.2]})
    types: list[ValueType] = [Image(3, 8, 8)]
    assert str(operation.infer(types)) == "image[4, 6, 6]"
    assert {name: str(value) for name, value in operation.inner(types).items()} == {"conv": "image[4, 6, 6]", "norm": "image[4, 6, 6]"}
    assert operation.parameter_count(types) == 4 * 27 + 4 + 8
    assert operation.macs(types) == 4 * 27 * 36
    assert list(operation.build(types).state_dict())[:2] == ["conv.weight", "conv.bias"]
    assert build("tiny", operation.model_dump(mode="json", exclude={"op"})) == operation
    schema = type(operation).model_json_schema()
    assert list(schema["properties"]) == ["inputs", "repeat", "output", "op", "width", "depth", "rates", "name"]  # norm is a class
    assert schema["description"] == "One convolution."
    assert registry.networks.get("tiny") is Tiny


@pytest.mark.parametrize(
    ("fields", "loc", "message"),
    [
        ({"width": "4"}, ("width",), "Input should be a valid integer"),
        ({}, (), "missing field 'width'"),
        ({"width": 4, "depth": 1.5}, ("depth",), "Input should be a valid integer"),
        ({"width": 4, "widht": 1}, ("widht",), "unknown field 'widht'"),
        ({"width": 4, "norm": "nn.LayerNorm"}, ("norm",), "unknown field 'norm'"),
    ],
)
def test_bad_parameters_of_a_users_network(fields: dict[str, object], loc: tuple[str, ...], message: str) -> None:
    register_network("tiny", Tiny)
    with pytest.raises(ValidationError) as caught:
        build("tiny", fields)
    [error] = caught.value.errors()
    assert (error["loc"][1:], error["msg"]) == (loc, message)


def test_a_network_that_runs_only_for_real() -> None:
    class Looking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum().item() > 1 else 2 * x

    before = torch.get_rng_state()
    register_network("looking", Looking)
    assert build("looking", {}).infer([Image(3, 4, 4)]) == Image(3, 4, 4)
    assert torch.equal(torch.get_rng_state(), before)


class Several(nn.Module):
    """A network of the user's own that returns a dict, and reads two inputs."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 1)

    def forward(self, image: Tensor, other: Tensor) -> dict[str, Tensor]:
        return {"first": self.conv(image), "second": self.conv(other).mean((2, 3))}


def test_a_network_that_returns_several_values() -> None:
    register_network("several", Several)
    types: list[ValueType] = [Image(3, 4, 4), Image(3, 6, 6)]
    inputs = {"other": "b", "image": "a"}
    assert build("several", {"output": "first", "inputs": ["a", "b"]}).infer(types) == Image(4, 4, 4)
    assert build("several", {"output": "first", "inputs": inputs}).infer(types) == Image(4, 6, 6)  # by name
    assert build("several", {"output": "second", "inputs": inputs}).infer(types) == Vector(4)
    for fields, message, fix in [
        ({}, "several returns several tensors: first, second", "output: first"),
        ({"output": "frist"}, "several has no output 'frist'", "did you mean 'first'?"),
        ({"output": "first", "inputs": {"image": "a", "othr": "b"}}, "several reads no 'othr'", "did you mean 'other'?"),
    ]:
        with pytest.raises(TypeRuleError) as caught:
            build("several", fields).infer(types)
        assert (str(caught.value), caught.value.fix) == (message, fix)


def test_a_network_that_returns_no_tensor() -> None:
    class Words(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "words"

    register_network("words", Words)
    with pytest.raises(TypeRuleError) as caught:
        build("words", {}).infer([Image(3, 4, 4)])
    assert str(caught.value) == "words returns str, and a node has one tensor as its value"


def needs_module(inner: nn.Module) -> nn.Module:
    return inner


def needs_anything(width) -> nn.Module:
    return nn.Conv2d(3, width, 1)


def needs_inputs(inputs: int) -> nn.Module:
    return nn.Conv2d(inputs, 1, 1)


@pytest.mark.parametrize(
    ("name", "factory", "message"),
    [
        (
            "net",
            needs_module,
            "network 'net': a spec can't say the parameter 'inner'\n  fix: annotate it as int, float, str, bool or a list of them",
        ),
        (
            "net",
            needs_anything,
            "network 'net': a spec can't say the parameter 'width'\n  fix: annotate it as int, float, str, bool or a list of them",
        ),
        ("net", needs_inputs, "network 'net': a parameter can't be called 'inputs', every node has one\n  fix: rename it"),
        ("timm", Tiny, "operation 'timm' is registered already\n  fix: choose another name"),
        ("net", Tiny(3), "the network 'net' is a Tiny, already made\n  fix: pass the class itself"),
    ],
)
def test_what_can_not_be_registered(name: str, factory: Callable[..., nn.Module], message: str) -> None:
    with pytest.raises(GraphNASError) as caught:
        register_network(name, factory)
    assert str(caught.value) == message
