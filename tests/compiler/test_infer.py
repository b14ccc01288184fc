"""Type inference: types, order, repetition, inner values; every message whole, at its line."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from graphnas.compiler.infer import infer
from graphnas.errors import SpecError
from graphnas.graph.graph import Graph
from graphnas.graph.types import Ids, Image, Tokens, ValueType
from graphnas.spec import load_spec, parse_spec
from graphnas.spec.network import NetworkSpec
from tests.counting import calls

IMAGE = Image(3, 64, 48)


def network(nodes: dict[str, Any], outputs: dict[str, str] | None = None, inputs: dict[str, str] | None = None) -> NetworkSpec:
    spec = parse_spec(
        {
            "kind": "network",
            "inputs": inputs or {"image": "image[3, H, W]"},
            "nodes": nodes,
            "outputs": outputs or {"prediction": next(reversed(nodes))},
        }
    )
    assert isinstance(spec, NetworkSpec)
    return spec.bind({})


def inferred(nodes: dict[str, Any], outputs: dict[str, str] | None = None) -> Graph:
    return infer(network(nodes, outputs), {"image": IMAGE})


def written(folder: Path, text: str) -> NetworkSpec:
    (folder / "net.yaml").write_text(textwrap.dedent(text).lstrip("\n"))
    spec = load_spec(folder / "net.yaml")
    assert isinstance(spec, NetworkSpec)
    return spec.bind({})


def message(folder: Path, text: str, given: dict[str, ValueType] | None = None) -> str:
    with pytest.raises(SpecError) as caught:
        infer(written(folder, text), given or {"image": IMAGE})
    return str(caught.value).replace(str(folder) + "/", "")


def test_types_parameters_and_macs() -> None:
    graph = inferred(
        {
            "stem.conv": {"op": "conv2d", "out_channels": 8, "stride": 2},
            "stem.norm": "batch_norm",
            "head": {"op": "linear_head", "out_channels": 5},
        }
    )
    assert [(node.name, node.op, node.inputs, str(node.type)) for node in graph.nodes] == [
        ("image", "input", (), "image[3, 64, 48]"),
        ("stem.conv", "conv2d", ("image",), "image[8, 32, 24]"),
        ("stem.norm", "batch_norm", ("stem.conv",), "image[8, 32, 24]"),
        ("head", "linear_head", ("stem.norm",), "vector[5]"),
    ]
    assert graph.parameters == (8 * 27 + 8) + 16 + 45
    assert graph.macs == 8 * 27 * 32 * 24 + 8 * 5
    assert graph.outputs == {"prediction": "head"}


def test_any_order_in_the_spec() -> None:
    graph = inferred(
        {
            "head": {"op": "conv2d", "out_channels": 2, "inputs": "both"},
            "both": {"op": "add", "inputs": ["left", "right"]},
            "right": {"op": "conv2d", "out_channels": 4, "inputs": "image"},
            "left": {"op": "conv2d", "out_channels": 4, "inputs": "right"},
        },
        {"prediction": "head"},
    )
    assert [node.name for node in graph.nodes] == ["image", "right", "left", "both", "head"]


def test_the_specs_order_is_kept_where_it_is_one() -> None:
    graph = inferred(
        {"b": {"op": "relu", "inputs": "image"}, "a": {"op": "relu", "inputs": "image"}, "c": {"op": "add", "inputs": ["a", "b"]}}
    )
    assert [node.name for node in graph.nodes] == ["image", "b", "a", "c"]


def test_a_repeated_node_is_a_row_of_copies_and_its_name_means_the_last() -> None:
    graph = inferred({"layer": {"op": "basic_block", "out_channels": 6, "repeat": 3}, "sum": {"op": "add", "inputs": ["layer", "layer.1"]}})
    assert [(node.name, node.inputs) for node in graph.nodes[1:]] == [
        ("layer.0", ("image",)),
        ("layer.1", ("layer.0",)),
        ("layer.2", ("layer.1",)),
        ("sum", ("layer.2", "layer.1")),
    ]


def test_one_value_may_be_read_twice_by_one_node() -> None:
    assert inferred({"twice": {"op": "concat", "inputs": ["image", "image"]}}).nodes[1].type == Image(6, 64, 48)


def test_values_inside_a_node() -> None:
    graph = inferred(
        {
            "encoder": {"op": "timm", "model": "vit_tiny_patch16_224", "img_size": [64, 48]},
            "head": {"op": "dpt_head", "inputs": ["encoder.blocks.2", "encoder.blocks.5"], "channels": 8, "out_channels": 3},
        }
    )
    assert [(node.name, node.op, node.inputs) for node in graph.nodes[1:4]] == [
        ("encoder", "timm", ("image",)),
        ("encoder.blocks.2", "value", ("encoder",)),
        ("encoder.blocks.5", "value", ("encoder",)),
    ]
    assert graph.by_name["encoder.blocks.2"].type == Tokens(13, 192, 1, (4, 3))
    tokens, width = 13, 192
    one_block = 12 * tokens * width * width + 2 * tokens * tokens * width
    assert graph.by_name["encoder"].macs == 3 * 256 * width * 12 + 6 * one_block  # what comes after block 5 is not run


def test_nested_networks() -> None:
    inner = {
        "kind": "network",
        "inputs": {"x": "image[C, H, W]"},
        "nodes": {"a": {"op": "conv2d", "out_channels": 4}, "b": "relu"},
        "outputs": "b",
    }
    graph = inferred({"body": {"op": "network", "use": inner}, "head": {"op": "concat", "inputs": ["body", "body.a", "image"]}})
    assert [(node.name, node.op) for node in graph.nodes[1:]] == [("body", "network"), ("body.a", "value"), ("head", "concat")]
    assert graph.by_name["head"].type == Image(11, 64, 48)
    assert graph.macs == 4 * 27 * 64 * 48


def test_several_inputs_of_several_kinds() -> None:
    spec = network({"sum": {"op": "concat", "inputs": ["left", "right"]}}, inputs={"left": "image[C, H, W]", "right": "image[D, H, W]"})
    graph = infer(spec, {"left": Image(2, 4, 6), "right": Image(3, 4, 6), "unread": Ids(4)})
    assert graph.by_name["sum"].type == Image(5, 4, 6)
    with pytest.raises(SpecError) as caught:
        infer(spec, {"left": Image(2, 4, 6), "right": Image(3, 4, 7)})
    assert str(caught.value) == 'inputs.right: right is image[D, H, W], but image[3, 4, 7] is given\n  fix: "image[3, 4, 7]"'


def test_every_node_knows_its_line(tmp_path: Path) -> None:
    spec = written(
        tmp_path,
        """
        kind: network
        inputs: {image: "image[3, H, W]"}
        nodes:
          stem: {op: conv2d, out_channels: 4}
          act: relu
        outputs: act
        """,
    )
    graph = infer(spec, {"image": IMAGE})
    assert [node.where.line for node in graph.nodes if node.where is not None] == [2, 4, 5]


def test_channels_that_do_not_fit_at_an_add(tmp_path: Path) -> None:
    text = """
        kind: network
        inputs: {image: "image[3, H, W]"}
        nodes:
          stem: {op: conv2d, out_channels: 16}
          wide: {op: conv2d, out_channels: 32}
          sum: {op: add, inputs: [stem, wide]}
          after: {op: conv2d, out_channels: 2}
        outputs: after
        """
    assert message(tmp_path, text) == (
        "net.yaml:6:26: nodes.sum.inputs: add reads values of one type, got image[16, 64, 48] and image[32, 64, 48] (stem, wide)\n"
        "  fix: put a conv2d with out_channels: 16 before the second"
    )


def test_a_cycle(tmp_path: Path) -> None:
    text = """
        kind: network
        inputs: {image: "image[3, H, W]"}
        nodes:
          a: {op: add, inputs: [image, c]}
          b: {op: relu, inputs: a}
          c: {op: relu, inputs: b}
        outputs: c
        """
    assert message(tmp_path, text) == (
        "net.yaml:5:25: nodes.b.inputs: a cycle: a reads c, c reads b, b reads a\n  fix: read a value that is made before"
    )


def test_an_output_that_nothing_makes(tmp_path: Path) -> None:
    text = """
        kind: network
        inputs: {image: "image[3, H, W]"}
        nodes:
          head: {op: conv2d, out_channels: 16}
        outputs: {prediction: haed}
        """
    assert message(tmp_path, text) == "net.yaml:5:23: outputs.prediction: nothing makes 'haed'\n  fix: did you mean 'head'?"


def test_a_convolution_of_tokens(tmp_path: Path) -> None:
    text = """
        kind: network
        inputs: {image: "image[3, H, W]"}
        nodes:
          tokens: {op: patch_embed, width: 8}
          conv: {op: conv2d, out_channels: 4, inputs: tokens}
        outputs: conv
        """
    assert message(tmp_path, text) == (
        "net.yaml:5:47: nodes.conv.inputs: conv2d reads image[C, H, W], got tokens[12, 8]\n  fix: put a node {op: to_image} before it"
    )


def test_a_parameter_at_fault_is_pointed_at(tmp_path: Path) -> None:
    text = """
        kind: network
        inputs: {image: "image[3, H, W]"}
        nodes:
          conv: {op: conv2d, out_channels: 4, groups: 2}
        outputs: conv
        """
    assert message(tmp_path, text) == (
        "net.yaml:4:47: nodes.conv.groups: 3 input and 4 output channels do not divide into 2 groups\n  fix: a number that divides both"
    )


def test_all_that_is_wrong_at_once_and_nothing_twice(tmp_path: Path) -> None:
    text = """
        kind: network
        inputs: {image: "image[3, H, W]"}
        nodes:
          first: {op: linear, out_features: 3}
          second: {op: relu}
          third: {op: add, inputs: [second, imag]}
          fourth: {op: conv2d, out_channels: 2, inputs: image}
          fifth: {op: add, inputs: [fourth, image, fourth.x]}
          half: {op: relu, inputs: image}
          half.inner: {op: relu, inputs: image}
        outputs: {prediction: fifth, other: sixth}
        """
    assert message(tmp_path, text) == (
        "net.yaml:4:10: nodes.first.inputs: linear reads tokens[L, D] or vector[D], got image[3, 64, 48]\n"
        "  fix: put a node {op: global_avg_pool} before it, or use {op: conv2d, kernel_size: 1}\n"
        "net.yaml:6:37: nodes.third.inputs[1]: nothing makes 'imag'\n"
        "  fix: did you mean 'image'?\n"
        "net.yaml:8:44: nodes.fifth.inputs[2]: nothing makes 'fourth.x'\n"
        "  fix: fourth has no values inside: read fourth\n"
        "net.yaml:9:9: nodes.half: no module can be called 'half'\n"
        "  fix: half_\n"
        "net.yaml:10:15: nodes.half.inner: 'half.inner' would lie inside the module of 'half'\n"
        "  fix: another name\n"
        "net.yaml:11:37: outputs.other: nothing makes 'sixth'\n"
        "  fix: did you mean 'fifth'?"
    )


def test_an_unknown_value_inside_a_node(tmp_path: Path) -> None:
    text = """
        kind: network
        inputs: {image: "image[3, H, W]"}
        nodes:
          encoder: {op: timm, model: resnet18}
          head: {op: fpn_head, inputs: [encoder.layer1, encoder.layr2], out_channels: 3}
        outputs: head
        """
    assert message(tmp_path, text) == (
        "net.yaml:5:49: nodes.head.inputs[1]: nothing makes 'encoder.layr2'\n  fix: did you mean 'encoder.layer2'?"
    )


def test_inputs_that_do_not_fit(tmp_path: Path) -> None:
    text = """
        kind: network
        inputs: {image: "image[3, H, W]", depth: "image[1, H, W]"}
        nodes:
          both: {op: concat, inputs: [image, depth]}
        outputs: both
        """
    assert message(tmp_path, text, {"image": Image(1, 8, 8), "deph": Image(1, 8, 8)}) == (
        "net.yaml:2:17: inputs.image: image is image[3, H, W], but image[1, 8, 8] is given\n"
        '  fix: "image[1, 8, 8]"\n'
        "net.yaml:2:42: inputs.depth: no input 'depth' is given\n"
        "  fix: did you mean 'deph'?"
    )


def test_a_node_of_which_it_is_not_clear_what_it_reads(tmp_path: Path) -> None:
    text = """
        kind: network
        inputs: {left: "image[3, H, W]", right: "image[3, H, W]"}
        nodes:
          conv: {op: conv2d, out_channels: 2}
        outputs: conv
        """
    assert message(tmp_path, text, {"left": IMAGE, "right": IMAGE}) == (
        "net.yaml:4:9: nodes.conv: which value does it read?\n  fix: inputs: left"
    )


def test_only_what_reads_one_value_can_be_repeated(tmp_path: Path) -> None:
    text = """
        kind: network
        inputs: {image: "image[3, H, W]"}
        nodes:
          sum: {op: add, inputs: [image, image], repeat: 2}
        outputs: sum
        """
    assert message(tmp_path, text) == (
        "net.yaml:4:50: nodes.sum.repeat: reads 2 values; only what reads one can be repeated\n  fix: repeat: 1"
    )


def test_an_error_inside_a_nested_network_points_into_its_file(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(
        'kind: network\ninputs: {x: "image[C, H, W]"}\nnodes:\n  a: {op: linear, out_features: 2}\noutputs: a\n'
    )
    text = """
        kind: network
        inputs: {image: "image[3, H, W]"}
        nodes:
          body: {op: network, use: inner.yaml}
        outputs: body
        """
    assert message(tmp_path, text) == (
        "inner.yaml:4:6: nodes.a.inputs: linear reads tokens[L, D] or vector[D], got image[3, 64, 48]\n"
        "  fix: put a node {op: global_avg_pool} before it, or use {op: conv2d, kernel_size: 1}"
    )


def test_wrong_parameters_of_a_nested_network_are_pointed_at_where_they_are_given(tmp_path: Path) -> None:
    text = """
        kind: network
        inputs: {image: "image[3, H, W]"}
        nodes:
          body: {op: network, use: small-resnet-fpn, parameters: {out_channels: 0}}
        outputs: body
        """
    assert message(tmp_path, text) == "net.yaml:4:73: nodes.body.parameters.out_channels: must be 1 or more, got 0"


def test_inference_is_linear_in_the_nodes() -> None:
    """Ten times the nodes take ten times the calls."""

    def made(count: int) -> int:
        nodes: dict[str, Any] = {"n0": {"op": "conv2d", "out_channels": 4, "inputs": "image"}}
        for i in range(1, count):
            nodes[f"n{i}"] = {"op": "add", "inputs": [f"n{i - 1}", f"n{i // 2}"]} if i % 2 else {"op": "conv2d", "out_channels": 4}
        spec = network(nodes)
        assert len(infer(spec, {"image": Image(3, 8, 8)}).nodes) == count + 1
        return calls(lambda: infer(spec, {"image": Image(3, 8, 8)}))

    assert made(1000) < 10.5 * made(100)
