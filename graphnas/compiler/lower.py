"""Typed graph -> ``torch.fx.GraphModule``: one ``call_module`` a node, whose module stands under the node's own name.

A node whose inner values are read (``encoder.blocks.2``) is recorded first and then returns those values in a tuple: ``getitem`` nodes take
them out. Its module keeps the names, and so the ``state_dict`` keys, of what it was recorded from.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from graphnas.compiler.branch import Branch
from graphnas.compiler.infer import INNER, copies
from graphnas.compiler.torch_typed import own_children, share_tensors
from graphnas.errors import Problem, RecordError, SpecError, Where
from graphnas.graph.graph import Graph
from graphnas.graph.types import ValueType
from graphnas.ops.opaque import example
from graphnas.spec.network import NetworkSpec

_WHERE = "graphnas_where"


def where_of(node: fx.Node) -> Where | None:
    """The spec line that made a node of a lowered network."""
    return node.meta.get(_WHERE)


def lower(network: NetworkSpec, graph: Graph) -> fx.GraphModule:
    """Build a network.

    Args:
        network: Bound: no parameters are left.
        graph: What ``infer`` made of it.
    Returns:
        A module that takes the network's inputs in order, and returns a tensor if the only output is called ``prediction``, else a dict.
    Raises:
        SpecError: A value inside a node is read that its module can't be recorded at.
    """
    operations = {copy.name: copy.operation for copy in copies(network)}
    inner = _inner_values(graph)
    read = {*graph.outputs.values(), *(name for node in graph.nodes if node.op != INNER for name in node.inputs)}
    root, lowered = nn.Module(), fx.Graph()
    values: dict[str, fx.Node] = {name: lowered.placeholder(name) for name in network.inputs}
    for node in graph.nodes:
        if node.op in ("input", INNER):
            continue
        types = [_type_of(graph, name) for name in node.inputs]
        module = operations[node.name].build(types)
        paths = inner.get(node.name, [])
        if paths:
            module = _returning(module, paths, types, whole=node.name in read, where=node.where, name=node.name)
        _attach(root, node.name, module)
        call = values[node.name] = lowered.call_module(node.name, tuple(values[name] for name in node.inputs))
        call.meta[_WHERE] = node.where
        for i, path in enumerate(["", *paths] if node.name in read and paths else paths):
            value = values[f"{node.name}.{path}" if path else node.name] = lowered.call_function(operator.getitem, (call, i))
            value.meta[_WHERE] = node.where
    outputs = {name: values[value] for name, value in graph.outputs.items()}
    lowered.output(outputs["prediction"] if list(outputs) == ["prediction"] else outputs)
    return fx.GraphModule(root, lowered)


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


def _returning(
    module: nn.Module, paths: Sequence[str], types: Sequence[ValueType], *, whole: bool, where: Where | None, name: str
) -> fx.GraphModule:
    """The same module, which returns a tuple of the values at these paths, its own first if ``whole``; runs no further than it must."""
    arguments = _examples(module, types)
    try:
        branch = Branch.from_module(module, taps={"inner": list(paths)}, example=arguments, output=None)
    except RecordError as error:
        raise SpecError(Problem(p.message, p.where or where, f"nodes.{name}", p.fix) for p in error.problems) from error
    graph = branch.recorded
    [output] = graph.find_nodes(op="output")
    wanted = [branch.tap_nodes[path] for path in paths]
    graph.erase_node(output)
    if whole:
        wanted.insert(0, branch.prediction)
    else:
        for node in reversed(graph.nodes):  # what runs after the last of them serves only the result, which nothing reads
            if node in wanted:
                break
            graph.erase_node(node)
    for i, path in enumerate(paths, start=int(whole)):
        if path in branch.changed:  # in place, later: readers outside see the value as it was made
            with graph.inserting_after(wanted[i]):
                wanted[i] = graph.call_method("clone", (wanted[i],))
    graph.output(tuple(wanted))
    return _with_graph(module, graph)


def _examples(module: nn.Module, types: Sequence[ValueType]) -> dict[str, Tensor]:
    """Inputs of these types by the names that the module's forward gives them."""
    generator = torch.Generator().manual_seed(0)
    values: list[Tensor] = []
    for value in types:
        zeros = example(value, 2)
        values.append(torch.rand(zeros.shape, generator=generator) if zeros.is_floating_point() else zeros)
    return dict(zip(inspect.signature(module.forward).parameters, values, strict=False))


def _with_graph(module: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """A module with the parts of another, all of them and in their order, that runs a graph recorded from it."""
    made = fx.GraphModule(nn.Module(), fx.Graph())
    for name, attribute in vars(module).items():
        if isinstance(attribute, Tensor):
            setattr(made, name, attribute)
    share_tensors(module, made)
    own_children(made).update(own_children(module))
    made.training = module.training
    made.graph = graph
    return made
