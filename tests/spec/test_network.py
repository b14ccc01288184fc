"""Networks: parameters before and after they are bound, nodes, inputs, taps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphnas import SpecError
from graphnas.ops.base import Operation
from graphnas.spec import NetworkSpec, Template, dump_spec, load_spec, parse_spec
from tests.counting import calls
from tests.spec.conftest import Refused, Write
from tests.strategies import networks

HEAD = 'kind: network\ninputs: {image: "image[3, H, W]"}\n'
PARAMETERS = (
    "parameters: {out: {type: integer, minimum: 1}, act: text, wide: {type: text, default: wide}, size: {type: integer, default: 3}}\n"
)


def test_a_node_with_a_parameter_is_a_template_until_it_is_bound() -> None:
    data = {
        "kind": "network",
        "parameters": {"out": "integer", "size": {"type": "integer", "default": 3}},
        "inputs": {"image": "image[3, H, W]"},
        "nodes": {"a": {"op": "conv2d", "out_channels": "$out", "kernel_size": ["$size", 1], "stride": 2}, "b": "relu"},
        "outputs": "b",
    }
    network = parse_spec(data)
    assert isinstance(network, NetworkSpec)
    template = network.nodes["a"]
    assert isinstance(template, Template)
    assert (template.op, template.data["kernel_size"], template.data["stride"]) == ("conv2d", ["$size", 1], 2)
    assert isinstance(network.nodes["b"], Operation)
    bound = network.bind({"out": 7})
    assert (bound.nodes["a"].out_channels, bound.nodes["a"].kernel_size) == (7, (3, 1))
    assert bound.parameters == {}
    assert bound.bind({}) == bound
    written = {"op": "conv2d", "out_channels": 7, "kernel_size": [3, 1], "stride": 2}
    assert bound == parse_spec({**data, "parameters": {}, "nodes": {"a": written, "b": "relu"}})
    assert network.bind({"out": 7, "size": 5}).nodes["a"].kernel_size == (5, 1)


@given(networks(), st.integers(1, 9))
def test_binding_leaves_no_template(data: dict[str, Any], channels: int) -> None:
    network = parse_spec(data)
    bound = network.bind({"out_channels": channels})
    assert all(isinstance(node, Operation) for node in bound.nodes.values())
    assert bound.nodes["head"].out_channels == channels
    assert {name: node for name, node in bound.nodes.items() if name != "head"} == {n: v for n, v in network.nodes.items() if n != "head"}
    assert parse_spec(dump_spec(bound)) == bound


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("{op: conv2d, out_channels: $uot}", "4:33: nodes.n.out_channels: unknown parameter '$uot'\n  fix: did you mean '$out'?"),
        ("{op: conv2d, out_channels: $act}",
         "4:33: nodes.n.out_channels: expected a whole number, got $act (text)\n  fix: out_channels: 1"),
        ("{op: conv2d, out_channels: x$out}",
         "4:33: nodes.n.out_channels: a $name stands for a whole value, got 'x$out'\n  fix: $name alone"),
        ("{op: conv2d, out_channels: $out, stride: 0}", "4:47: nodes.n.stride: must be 1 or more, got 0"),
        ("{op: conv2d, out_channels: $out, stirde: 1}", "4:39: nodes.n.stirde: unknown field 'stirde'\n  fix: did you mean 'stride'?"),
        ("{op: conv2d, out_channels: 3, bias: $out}", "4:42: nodes.n.bias: expected true or false, got $out (a number)\n  fix: bias: true"),
        ("{op: conv2d, kernel_size: $size}", "4:6: nodes.n: missing field 'out_channels'\n  fix: out_channels: 64"),
        ("{op: conv2d, out_channels: 3, kernel_size: $wide}",
         "4:49: nodes.n.kernel_size: must be a whole number or two, [rows, columns], got 'wide'"),
        ("{op: $act}", "4:11: nodes.n.op: an operation can't be a parameter, got '$act'\n  fix: name an operation"),
        ("$act", "4:6: nodes.n: an operation can't be a parameter, got '$act'\n  fix: name an operation"),
        ("{op: timm, model: $wide}", "4:24: nodes.n.model: timm has no model 'wide'"),
        ("{op: network, use: small-resnet-fpn, parameters: {chanels: $size}}",
         "4:65: nodes.n.parameters.chanels: the network has no parameter 'chanels'\n  fix: did you mean 'channels'?"),
    ],
)  # fmt: skip
def test_parameters_are_checked_before_they_are_bound(node: str, message: str, refused: Refused) -> None:
    found = refused(f"{HEAD}nodes:\n  n: {node}\noutputs: n\n{PARAMETERS}")
    assert found.partition("\n  fix: one of")[0] == f"x.yaml:{message}"


@pytest.mark.parametrize(
    "node",
    [
        "{op: conv2d, out_channels: 3, kernel_size: $act}",  # some text might do, for all that is known
        "{op: timm, model: $act}",
        "{op: network, use: small-resnet-fpn, parameters: {out_channels: $out}}",
        "{op: conv2d, out_channels: $out, groups: 2}",  # channels are not known yet
        "{op: relu, repeat: $out}",
    ],
)
def test_what_can_only_be_known_later_is_not_refused(node: str, write: Write) -> None:
    write("x.yaml", f"{HEAD}{PARAMETERS}nodes:\n  n: {node}\noutputs: n\n")
    assert isinstance(load_spec("x.yaml").nodes["n"], Template)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "x.yaml:3:19: parameters.out: the parameter 'out' has no value\n  fix: give one, or a default: 1"),
        ({"out": 0}, "x.yaml:3:19: parameters.out: must be 1 or more, got 0"),
        ({"out": 1.0}, "x.yaml:3:19: parameters.out: expected a whole number, got 1.0"),
        ({"out": True}, "x.yaml:3:19: parameters.out: expected a whole number, got true"),
        ({"out": 1, "kernel": 0}, "x.yaml:5:65: nodes.n.kernel_size: must be 1 or more, got 0"),
        ({"out": 1, "kernal": 3}, "x.yaml:3:13: parameters.kernal: the network has no parameter 'kernal'\n  fix: did you mean 'kernel'?"),
    ],
)
def test_values_are_checked_when_they_are_bound(values: dict[str, Any], message: str, write: Write) -> None:
    parameters = "parameters: {out: {type: integer, minimum: 1}, kernel: {type: integer, default: 3}}\n"
    write("x.yaml", f"{HEAD}{parameters}nodes:\n  n: {{op: conv2d, out_channels: $out, bias: false, kernel_size: $kernel}}\noutputs: n\n")
    with pytest.raises(SpecError) as caught:
        load_spec("x.yaml").bind(values)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("int", "unknown value 'int'\n  fix: did you mean 'integer'?"),
        ("{type: integer, default: x}", "expected a whole number, got text 'x'"),
        ("{type: integer, minimum: 2, default: 1}", "must be 2 or more, got 1"),
        ("{type: number, maximum: 2, default: 2.5}", "must be 2 or less, got 2.5"),
        ("{type: integer, minimum: 2, maximum: 1}", "must be 2 or more, the minimum, got 1"),
        ("{type: text, minimum: 2}", "a text has no minimum\n  fix: leave minimum out"),
        ("{type: flag, default: 1}", "expected true or false, got 1"),
        ("{default: 1}", "missing field 'type'\n  fix: type: integer"),
    ],
)
def test_parameters_themselves(parameter: str, message: str, refused: Refused) -> None:
    whole = refused(f"{HEAD}parameters: {{p: {parameter}}}\nnodes: {{n: relu}}\noutputs: n\n")
    assert whole.startswith("x.yaml:3:")
    assert whole.partition("parameters.p")[2].partition(": ")[2] == message


def test_a_parameter_that_is_wrong_does_not_hide_a_node(refused: Refused) -> None:
    assert refused(f"{HEAD}parameters: {{p: int}}\nnodes: {{n: {{op: conv2d, out_channels: $p}}, m: rleu}}\noutputs: n\n") == (
        "x.yaml:3:17: parameters.p: unknown value 'int'\n  fix: did you mean 'integer'?\n"
        "x.yaml:4:47: nodes.m: unknown operation 'rleu'\n  fix: did you mean 'relu'?"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('inputs: {image: "image[3, H]"}', '17: inputs.image: image has 3 sizes, got 2\n  fix: image: image[3, H, W]'),
        ("inputs: {image: picture}", "17: inputs.image: 'picture' is not a type; write image[C, H, W], tokens[L, D], ids[L], mask[L] or "
                                     "vector[D]\n  fix: image: image[3, H, W]"),
        ("inputs: {3d: 'ids[L]'}", "10: inputs.3d: '3d' is no name\n  fix: letters, digits and _; not a digit first"),
        ("inputs: {}", "9: inputs: expected at least 1, got none"),
        ("nodes: {}", "8: nodes: expected at least 1, got none"),
        ("nodes: [relu]", "8: nodes: expected a mapping, got a list\n  fix: nodes: {...}"),
        ("nodes: {a-b: relu}", "9: nodes.a-b: 'a-b' is no name\n  fix: letters, digits and _, dots between words; not a digit first"),
        ("nodes: {a: 3}", "12: nodes.a: expected an operation, got 3\n  fix: write a name, or {op: NAME, ...}"),
        ("nodes: {a: {}}", "12: nodes.a: no operation is named"),
        ("nodes: {a: {op: [relu]}}", "17: nodes.a.op: the name of an operation is text, got a list"),
        ("nodes: {a: {op: relu, repeat: 0}}", "31: nodes.a.repeat: must be 1 or more, got 0\n  fix: repeat: 1"),
        ("nodes: {a: {op: relu, inputs: {}}}", "31: nodes.a.inputs: it reads values in order, not by name\n  fix: inputs: NAME"),
        ("nodes: {a: {op: relu, inputs: [3]}}", '32: nodes.a.inputs[0]: expected text, got 3\n  fix: "3"'),
        ("outputs: [a]", "10: outputs: expected a mapping, got a list\n  fix: outputs: {...}"),
        ("taps: {s: []}", "11: taps.s: expected at least 1, got none"),
        ("taps: defautl", "7: taps: expected a mapping or default, got text 'defautl'\n  fix: taps: {...}"),
        ("taps: 3", "7: taps: expected a mapping or default, got 3\n  fix: taps: {...}"),
        ("taps: {s: 3}", "11: taps.s: expected a list, got 3\n  fix: s: [...]"),
        ("taps: {s: {match: a, split: [2, 0]}}", "33: taps.s.split[1]: must be 1 or more, got 0\n  fix: 1"),
        ("taps: {s: {match: a, output: 1.5}}", '30: taps.s.output: expected a whole number or text, got 1.5\n  fix: output: "1.5"'),
        ("taps: {s: {match: a, klass: Block}}", "22: taps.s.klass: unknown field 'klass'\n  fix: did you mean 'class'?"),
    ],
)  # fmt: skip
def test_other_fields(line: str, message: str, refused: Refused) -> None:
    fields = {"inputs": "inputs: {image: 'image[3, H, W]'}", "nodes": "nodes: {a: relu}", "outputs": "outputs: a"}
    rest = "\n".join(text for field, text in fields.items() if not line.startswith(field))
    found = refused(f"kind: network\n{line}\n{rest}\n")
    assert found.partition("\n  fix: one of")[0] == f"x.yaml:2:{message}"


def test_reading_is_linear_in_the_nodes(tmp_path: Path) -> None:
    """Ten times the nodes take ten times the calls."""

    def read(count: int) -> int:
        lines = [f"  n{i}: {{op: conv2d, out_channels: $width, inputs: {f'n{i - 1}' if i else 'image'}}}" for i in range(count)]
        text = "\n".join([HEAD + "parameters: {width: {type: integer, default: 4}}\nnodes:", *lines, f"outputs: n{count - 1}"])
        (tmp_path / "x.yaml").write_text(text)
        made = calls(lambda: load_spec(tmp_path / "x.yaml"))
        network = load_spec(tmp_path / "x.yaml")
        assert network.bind({}).where("nodes", f"n{count - 1}").line == count + 4
        return made

    read(10)
    assert read(3000) < 10.5 * read(300)


def test_taps_by_default_round_trip() -> None:
    network = {"kind": "network", "inputs": {"image": "image[3, H, W]"}, "nodes": {"a": {"op": "relu"}}, "outputs": "a", "taps": "default"}
    spec = parse_spec(network)
    assert spec.taps == "default"
    assert spec.bind({}).taps == "default"
    assert dump_spec(spec)["taps"] == "default"
    assert parse_spec(dump_spec(spec)) == spec


def test_a_list_is_no_node(refused: Refused) -> None:
    head = "kind: network\nparameters: {n: integer}\ninputs: {image: 'image[3, H, W]'}\n"
    found = refused(head + "nodes: {a: [{op: conv2d, out_channels: $n}]}\noutputs: a\n")
    assert found.startswith("x.yaml:4:12: nodes.a: expected ")
