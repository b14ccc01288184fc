"""What every node operation promises: types, costs, purity, round trip."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from graphnas.graph.types import Ids, Mask, ValueType
from graphnas.ops.base import Operation
from graphnas.ops.opaque import Opaque
from graphnas.ops.output import value_of
from graphnas.registry import operations
from graphnas.schema import Named, Spec
from tests.ops.cases import CASES

ALL = [pytest.param(name, fields, types, id=f"{name}-{i}") for name, cases in CASES.items() for i, (fields, types) in enumerate(cases)]


UNUSED = {"huggingface": ("pooler", "dpt.layernorm", "neck.fusion_stage.layers.0.residual_layer1")}
"""Parameters of a library's network that its value does not depend on."""


class Holder(Spec):
    node: Annotated[Spec, Named(operations, "op")]


def build(name: str, fields: dict[str, Any]) -> Operation:
    operation = Holder.model_validate({"node": {"op": name, **fields}}).node
    assert isinstance(operation, Operation)
    return operation


def random_inputs(types: Sequence[ValueType], batch: int, device: str = "cpu") -> list[Tensor]:
    made = [torch.randn(batch, *value.shape, device=device) for value in types]
    return [
        torch.ones_like(x, dtype=torch.bool) if isinstance(value, Mask) else x.abs().long() if isinstance(value, Ids) else x
        for x, value in zip(made, types, strict=True)
    ]


def value_of_node(operation: Operation, module: nn.Module, types: Sequence[ValueType], inputs: Sequence[Tensor]) -> Tensor:
    """The node's value, as a lowered network takes it."""
    names = operation.argument_names(types)
    returned = module(*inputs) if names is None else module(**dict(zip(names, inputs, strict=True)))
    selection = operation.selection(types) if isinstance(operation, Opaque) else None
    if selection is None:
        return returned
    return value_of(returned, selection.key).unsqueeze(1) if selection.channel else value_of(returned, selection.key)


def test_every_operation_is_here() -> None:
    assert sorted(CASES) == sorted(operations.names())


@pytest.mark.parametrize(("name", "fields", "types"), ALL)
@pytest.mark.parametrize("training", [False, True])
def test_the_type_rule_says_what_torch_returns(name: str, fields: dict[str, Any], types: list[ValueType], training: bool) -> None:
    operation = build(name, fields)
    module = operation.build(types).train(training)
    for batch in (2, 3):
        inputs = random_inputs(types, batch)
        before = copy.deepcopy(inputs)
        assert tuple(value_of_node(operation, module, types, inputs).shape) == (batch, *operation.infer(types).shape)
        assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True)), "an input was changed in place"


@pytest.mark.parametrize(("name", "fields", "types"), ALL)
def test_costs(name: str, fields: dict[str, Any], types: list[ValueType]) -> None:
    operation = build(name, fields)
    module = operation.build(types).eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # attention is counted as the products that it is
        value_of_node(operation, module, types, random_inputs(types, 2))
    assert operation.macs(types) * 2 * 2 == counter.get_total_flops()
    assert operation.parameter_count(types) == sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("name", "fields", "types"), ALL)
def test_round_trip_through_yaml(name: str, fields: dict[str, Any], types: list[ValueType]) -> None:
    operation = build(name, fields)
    again = Holder.model_validate(yaml.safe_load(yaml.safe_dump({"node": operation.model_dump(mode="json", by_alias=True)}))).node
    assert again == operation
    assert isinstance(again, Operation)
    assert again.infer(types) == operation.infer(types)


@pytest.mark.parametrize(("name", "fields", "types"), ALL)
def test_gradients_reach_inputs_and_parameters(name: str, fields: dict[str, Any], types: list[ValueType]) -> None:
    operation = build(name, fields)
    module = operation.build(types)
    inputs = [x.requires_grad_() if x.is_floating_point() else x for x in random_inputs(types, 2)]
    value_of_node(operation, module, types, inputs).square().mean().backward()
    sizes_only = name in ("to_image", "upsample", "dpt_head", "reassemble_head")  # their last image is read for its size
    assert all(x.grad is not None for x in (inputs[:1] if sizes_only else inputs) if x.is_floating_point())
    unused = UNUSED.get(name, ())
    assert [key for key, parameter in module.named_parameters() if parameter.grad is None and not key.startswith(unused)] == []


@pytest.mark.parametrize(("name", "fields", "types"), ALL)
def test_the_schema_describes_it(name: str, fields: dict[str, Any], types: list[ValueType]) -> None:
    schema = operations.get(name).model_json_schema()
    assert schema["description"]
    assert set(fields) <= set(schema["properties"]) or schema.get("additionalProperties") is True


@pytest.mark.parametrize("name", operations.names())
def test_the_schema_describes_every_field(name: str) -> None:
    properties = operations.get(name).model_json_schema()["properties"]
    assert [field for field, schema in properties.items() if field != "op" and "description" not in schema] == []


@pytest.mark.parametrize(("name", "fields", "types"), ALL)
def test_one_seed_one_module(name: str, fields: dict[str, Any], types: list[ValueType]) -> None:
    operation = build(name, fields)
    torch.manual_seed(3)
    first = operation.build(types).state_dict()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    costs = operation.parameter_count(types), operation.macs(types)
    assert costs[0] >= 0
    assert torch.equal(torch.get_rng_state(), before)
    second = operation.build(types).state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)
