"""Lowering: what runs is what was inferred, under the names of the spec."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from torch import Tensor, fx, nn
from torch.testing import assert_close

from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower, where_of
from graphnas.errors import SpecError
from graphnas.graph.types import Image, ValueType
from graphnas.spec import parse_spec
from graphnas.spec.network import NetworkSpec
from tests.compiler.graphs import INPUT, graphs
from tests.compiler.test_infer import network


def lowered(spec: NetworkSpec, **inputs: ValueType) -> fx.GraphModule:
    return lower(spec, infer(spec, inputs))


def note(module: nn.Module, seen: Callable[[Tensor], None]) -> None:
    """Call ``seen`` with what a module returns."""

    def hook(_module: nn.Module, _args: Any, value: Tensor) -> None:
        seen(value)

    module.register_forward_hook(hook)


@settings(max_examples=60)
@given(graphs())
def test_what_is_inferred_is_what_runs(data: dict[str, Any]) -> None:
    spec = parse_spec(data)
    assert isinstance(spec, NetworkSpec)
    graph = infer(spec, {"image": INPUT})
    module = lower(spec, graph)
    module.graph.lint()
    seen: dict[str, tuple[int, ...]] = {}
    for node in graph.nodes[1:]:
        note(module.get_submodule(node.name), lambda value, name=node.name: seen.update({name: tuple(value.shape)}))
    result = module(torch.randn(2, *INPUT.shape))
    assert seen == {node.name: (2, *node.type.shape) for node in graph.nodes[1:] if node.type is not None}
    outputs = {"prediction": result} if isinstance(result, Tensor) else result
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {name: seen[node] for name, node in graph.outputs.items()}
    assert sum(parameter.numel() for parameter in module.parameters()) == graph.parameters
    assert [str(node.target) for node in module.graph.nodes if node.op == "call_module"] == [node.name for node in graph.nodes[1:]]


@settings(max_examples=10)
@given(graphs())
def test_survives_deepcopy(data: dict[str, Any]) -> None:
    spec = parse_spec(data)
    assert isinstance(spec, NetworkSpec)
    module = lowered(spec, image=INPUT).eval()
    x = torch.randn(2, *INPUT.shape)
    assert_close(copy.deepcopy(module)(x), module(x), rtol=0, atol=0)


def test_keys_are_what_a_person_would_expect() -> None:
    spec = network(
        {
            "stem.conv": {"op": "conv2d", "out_channels": 4, "bias": False},
            "stem.bn": "batch_norm",
            "layer1": {"op": "basic_block", "out_channels": 4, "repeat": 2},
            "head": {"op": "conv2d", "out_channels": 1},
        }
    )
    keys = list(lowered(spec, image=INPUT).state_dict())
    assert keys[:3] == ["stem.conv.weight", "stem.bn.weight", "stem.bn.bias"]
    assert "layer1.1.conv2.weight" in keys
    assert keys[-2:] == ["head.weight", "head.bias"]


def test_blocks_are_those_of_torchvision() -> None:
    """The same keys and, with the same weights, the same values as torchvision's ResNet."""
    nodes: dict[str, Any] = {
        "conv1": {"op": "conv2d", "out_channels": 64, "kernel_size": 7, "stride": 2, "bias": False},
        "bn1": "batch_norm",
        "relu": "relu",
        "maxpool": {"op": "max_pool2d", "kernel_size": 3, "stride": 2, "padding": 1},
    }
    for number, blocks in enumerate([3, 4, 6, 3], 1):
        for i in range(blocks):
            stride = 2 if number > 1 and i == 0 else 1
            nodes[f"layer{number}.{i}"] = {"op": "bottleneck", "out_channels": 128 * 2**number, "stride": stride}
    nodes["avgpool"] = "global_avg_pool"
    nodes["fc"] = {"op": "linear", "out_features": 1000}
    module = lowered(network(nodes), image=Image(3, 64, 64)).eval()
    original = torchvision.models.resnet50(weights=None).eval()
    assert list(module.state_dict()) == list(original.state_dict())
    module.load_state_dict(original.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert_close(module(x), original(x), rtol=1e-5, atol=1e-5)


def test_blocks_are_those_of_timm() -> None:
    nodes: dict[str, Any] = {
        "patch_embed": {"op": "patch_embed", "width": 192, "class_token": True},
        "blocks": {"op": "transformer_block", "heads": 3, "repeat": 12},
        "norm": {"op": "layer_norm", "eps": 1e-6},
        "head": {"op": "linear_head", "out_channels": 10, "pool": "class_token"},
    }
    module = lowered(network(nodes), image=Image(3, 64, 48)).eval()
    original = timm.create_model("vit_tiny_patch16_224", img_size=(64, 48), num_classes=10).eval()
    renamed = {"patch_embed.cls_token": "cls_token", "patch_embed.pos_embed": "pos_embed"}
    weights = original.state_dict()
    module.load_state_dict({key: weights[renamed.get(key, key.replace("head.linear", "head"))] for key in module.state_dict()})
    x = torch.randn(2, 3, 64, 48)
    assert_close(module(x), original(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("node", "inner", "make"),
    [
        (
            {"op": "timm", "model": "vit_tiny_patch16_224", "img_size": 64},
            ["blocks.2", "blocks.11"],
            lambda: timm.create_model("vit_tiny_patch16_224", img_size=64),
        ),
        ({"op": "torchvision", "model": "resnet18"}, ["bn1", "layer2.0", "layer4"], lambda: torchvision.models.resnet18(weights=None)),
        (
            {"op": "torchvision", "model": "alexnet", "num_classes": 8},
            ["features.0", "features.3"],
            lambda: torchvision.models.alexnet(weights=None, num_classes=8),
        ),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_inner_values(node: dict[str, Any], inner: list[str], make: Any, whole: bool) -> None:
    """They are what the original's submodules return, before anything changes them in place; the keys stay the library's own."""
    nodes: dict[str, Any] = {"encoder": {**node, "inputs": "image"}}
    nodes |= {f"out{i}": {"op": "identity", "inputs": f"encoder.{path}"} for i, path in enumerate(inner)}
    outputs = {f"v{i}": f"out{i}" for i in range(len(inner))} | ({"whole": "encoder"} if whole else {})
    module = lowered(network(nodes, outputs), image=Image(3, 64, 64)).eval()
    original: nn.Module = make().eval()
    weights = {key.removeprefix("encoder."): value for key, value in module.state_dict().items()}
    assert list(weights) == list(original.state_dict())
    original.load_state_dict(weights)
    expected: dict[str, Tensor] = {}
    for i, path in enumerate(inner):
        note(original.get_submodule(path), lambda value, name=f"v{i}": expected.update({name: value.clone()}))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        returned = original(x)
        values = module(x)
    if whole:
        expected["whole"] = returned
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert torch.equal(value, expected[name])


def test_nothing_runs_after_the_last_inner_value_that_is_read() -> None:
    spec = network(
        {"encoder": {"op": "torchvision", "model": "resnet18"}, "head": {"op": "conv2d", "out_channels": 2, "inputs": "encoder.layer2"}}
    )
    module = lowered(spec, image=Image(3, 32, 32))
    ran: list[str] = []
    for name, submodule in module.named_modules():
        submodule.register_forward_hook(lambda *_, name=name: ran.append(name))
    module(torch.randn(2, 3, 32, 32))
    assert "encoder.layer2" in ran
    assert not [name for name in ran if name.startswith(("encoder.layer3", "encoder.fc"))]


def test_train_and_eval_are_the_nodes_own() -> None:
    spec = network({"encoder": {"op": "torchvision", "model": "alexnet"}, "head": {"op": "identity", "inputs": "encoder.classifier.1"}})
    module = lowered(spec, image=Image(3, 64, 64))
    x = torch.randn(2, 3, 64, 64)
    module.train()
    assert not torch.equal(module(x), module(x))  # dropout
    module.eval()
    assert torch.equal(module(x), module(x))


def test_a_nested_network_has_its_keys_below_the_nodes_name() -> None:
    inner = {
        "kind": "network",
        "inputs": {"x": "image[C, H, W]"},
        "nodes": {"a": {"op": "conv2d", "out_channels": 4}, "b": "relu"},
        "outputs": "b",
    }
    spec = network({"body": {"op": "network", "use": inner}, "head": {"op": "concat", "inputs": ["body", "body.a"]}})
    module = lowered(spec, image=INPUT)
    assert list(module.state_dict()) == ["body.a.weight", "body.a.bias"]
    x = torch.randn(2, *INPUT.shape)
    conv = module.get_submodule("body.a")(x)
    assert_close(module(x), torch.cat([conv.relu(), conv], dim=1))


def test_nodes_know_their_line() -> None:
    module = lowered(network({"a": "relu", "b": "relu"}), image=INPUT)
    assert {str(node.target): where_of(node) for node in module.graph.nodes if node.op == "call_module"} == {"a": None, "b": None}


def test_an_inner_value_that_is_made_twice_is_refused() -> None:
    spec = network({"encoder": {"op": "torchvision", "model": "resnet18"}, "head": {"op": "identity", "inputs": "encoder.layer1.0.relu"}})
    with pytest.raises(SpecError) as caught:
        lowered(spec, image=Image(3, 32, 32))
    assert str(caught.value) == (
        "nodes.encoder: 'layer1.0.relu' is called 2 times, so the tap is ambiguous\n  fix: tap a submodule that is called once"
    )


def test_a_size_that_no_memory_holds_is_told_at_its_node() -> None:
    for width in (10**12, 10**30):
        spec = network({"a": {"op": "conv2d", "out_channels": width, "bias": False}})
        with pytest.raises(SpecError) as caught:
            lowered(spec, image=INPUT)
        first, fix = str(caught.value).split("\n")
        assert first.startswith(f"nodes.a: can't be made, with {width * INPUT.channels * 9:,} parameters: ")
        assert fix == "  fix: smaller sizes"
