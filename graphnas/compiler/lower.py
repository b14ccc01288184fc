"""Typed graph -> ``torch.fx.GraphModule``: one ``call_module`` a node, whose module stands under the node's own name.

A node whose inner values are read (``encoder.blocks.2``) is recorded first and then returns those values in a tuple: ``getitem`` nodes take
them out. Its module keeps the names, and so the ``state_dict`` keys, of what it was recorded from.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphnas.compiler.branch import Branch
from graphnas.compiler.infer import INNER, Copy, copies
from graphnas.compiler.reading import Lowered
from graphnas.compiler.torch_typed import own_children, share_tensors
from graphnas.compiler.values import tensor_attributes
from graphnas.errors import Problem, RecordError, SpecError, Where
from graphnas.graph.graph import Graph
from graphnas.graph.types import ValueType
from graphnas.ops.base import TypeRuleError
from graphnas.ops.opaque import Opaque, Selection, example
from graphnas.ops.output import Key, part_named, value_of
from graphnas.spec.network import NetworkSpec

_WHERE = "graphnas_where"


def where_of(node: fx.Node) -> Where | None:
    """The spec line that made a node of a lowered network."""
    return node.meta.get(_WHERE)


def lower(network: NetworkSpec, graph: Graph) -> Lowered:
    """Build a network.

    Args:
        network: Bound: no parameters are left.
        graph: What ``infer`` made of it.
    Returns:
        A module that takes the network's inputs in order, and returns a tensor if the only output is called ``prediction``, else a dict.
    Raises:
        SpecError: A value inside a node is read that its module can't be recorded at, or published weights can't be had.
    """
    made_from = {copy.name: copy for copy in copies(network)}
    inner = _inner_values(graph)
    read = {*graph.outputs.values(), *(name for node in graph.nodes if node.op != INNER for name in node.inputs)}
    root, lowered = nn.Module(), fx.Graph()
    values: dict[str, fx.Node] = {name: lowered.placeholder(name) for name in network.inputs}
    for node in graph.nodes:
        if node.op in ("input", INNER):
            continue
        types = [_type_of(graph, name) for name in node.inputs]
        operation = made_from[node.name].operation
        module = _built(network, made_from[node.name], types)
        names = operation.argument_names(types)
        selection = operation.selection(types) if isinstance(operation, Opaque) else None
        paths, whole = inner.get(node.name, []), node.name in read
        if paths:
            call = _Call(types, names, None if selection is None else selection.key)
            module = _returning(module, paths, call, whole=whole, where=node.where, name=node.name)
        _attach(root, node.name, module)
        given = [values[name] for name in node.inputs]
        by_name: dict[str, Any] = dict(zip(names or (), given, strict=names is not None))
        called = values[node.name] = lowered.call_module(node.name, () if by_name else tuple(given), by_name)
        for i, path in enumerate(["", *paths] if whole and paths else paths):
            values[f"{node.name}.{path}" if path else node.name] = lowered.call_function(operator.getitem, (called, i))
        if selection is not None and whole:
            values[node.name] = _selected(lowered, values[node.name], selection, among=not paths)
        for value in (called, *(values[name] for name in (node.name, *(f"{node.name}.{path}" for path in paths)))):
            value.meta[_WHERE] = node.where
    outputs = {name: values[value] for name, value in graph.outputs.items()}
    lowered.output(outputs["prediction"] if list(outputs) == ["prediction"] else outputs)
    return Lowered(root, lowered)


@dataclass(frozen=True)
class _Call:
    """How a node's module is called: with inputs of these types, under these names (``None``: in order), for this part of its result."""

    types: Sequence[ValueType]
    names: Sequence[str] | None
    output: Key | None


def _built(network: NetworkSpec, copy: Copy, types: Sequence[ValueType]) -> nn.Module:
    try:
        return copy.operation.build(types)
    except TypeRuleError as error:  # published weights that can't be had
        path = (error.field,) if error.field is not None else ()
        raise SpecError(network.problem(str(error), "nodes", copy.spec_name, *path, fix=error.fix)) from error
    except (RuntimeError, MemoryError, OverflowError, TypeError, ValueError) as error:  # of torch: a size that no memory holds
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        count = copy.operation.parameter_count(types)
        message = f"can't be made, with {count:,} parameters: {said}"
        raise SpecError(network.problem(message, "nodes", copy.spec_name, fix="smaller sizes")) from error


def _selected(lowered: fx.Graph, value: fx.Node, selection: Selection, *, among: bool) -> fx.Node:
    """A node's value, out of what its module returned if it still is ``among`` other parts."""
    if among:
        value = lowered.call_function(value_of, (value, selection.key))
    return lowered.call_method("unsqueeze", (value, 1)) if selection.channel else value


def _inner_values(graph: Graph) -> dict[str, list[str]]:
    """Node -> the paths of the values inside it that are read."""
    found: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.op == INNER:
            [outer] = node.inputs
            found.setdefault(outer, []).append(node.name.removeprefix(f"{outer}."))
    return found


def _type_of(graph: Graph, name: str) -> ValueType:
    found = graph.by_name[name].type
    assert found is not None
    return found


def _attach(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module under a dotted name, with plain modules as the parts before the last."""
    *outer, last = name.split(".")
    for part in outer:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(last, module)


def _returning(module: nn.Module, paths: Sequence[str], call: _Call, *, whole: bool, where: Where | None, name: str) -> fx.GraphModule:
    """The same module, which returns a tuple of the values at these paths, its own first if ``whole``; runs no further than it must."""
    arguments = _examples(module, call)
    try:
        branch = Branch.from_module(module, taps=_taps(paths), example=arguments, output=call.output)
    except RecordError as error:
        raise SpecError(Problem(p.message, p.where or where, f"nodes.{name}", p.fix) for p in error.problems) from error
    graph = branch.recorded
    [output] = graph.find_nodes(op="output")
    wanted = [branch.tap_nodes[part_named(path)[0]] for path in paths]
    graph.erase_node(output)
    if whole:
        wanted.insert(0, branch.prediction)
    else:
        for node in reversed(graph.nodes):  # what runs after the last of them serves only the result, which nothing reads
            if node in wanted:
                break
            graph.erase_node(node)
    for i, path in enumerate(paths, start=int(whole)):
        if part_named(path)[0] in branch.changed:  # in place, later: readers outside see the value as it was made
            with graph.inserting_after(wanted[i]):
                wanted[i] = graph.call_method("clone", (wanted[i],))
    graph.output(tuple(wanted))
    return _with_graph(module, graph)


def _taps(paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """These values as taps, each a stage of its own.

    Raises:
        RecordError: Several parts of what one submodule returns.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        name, key = part_named(path)
        if name in found:
            raise RecordError(f"several values of {name!r} are read", fix="read one of them")
        found[name] = {"match": [name], "output": key}
    return {f"value{i}": tap for i, tap in enumerate(found.values())}


def _examples(module: nn.Module, call: _Call) -> dict[str, Tensor]:
    """Inputs of these types by the names that the module's forward gives them."""
    generator = torch.Generator().manual_seed(0)
    values: list[Tensor] = []
    for value in call.types:
        zeros = example(value, 2)
        values.append(torch.rand(zeros.shape, generator=generator) if zeros.is_floating_point() else zeros)
    names = call.names if call.names is not None else inspect.signature(module.forward).parameters
    return dict(zip(names, values, strict=False))


def _with_graph(module: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """A module with the parts of another, all of them and in their order, that runs a graph recorded from it."""
    made = fx.GraphModule(nn.Module(), fx.Graph())
    for name, attribute in tensor_attributes(module).items():
        setattr(made, name, attribute)
    share_tensors(module, made)
    own_children(made).update(own_children(module))
    made.training = module.training
    made.graph = graph
    return made
