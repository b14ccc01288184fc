"""The recording of a network that was lowered from its spec: read off its graph, and run once a mode for what a graph does not tell.

Nothing is compared afterwards, because nothing could differ. The forward of a ``Lowered`` module is the code that torch.fx generated from
its graph, no line more; that the graph is still the one that this code was generated from is checked. The recording holds the nodes of that
graph in their order, each with the target and the arguments that it has there, and what runs a recording is the code that torch.fx
generates from it. So both call the same modules with the same values in the same order, whatever those modules do, in either mode, at any
size, under autocast. A graph with other kinds of nodes, one that is looked into below its nodes, and a forward that was replaced are not
read but recorded as any other module's.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphnas.compiler.calls import tensors_in, type_of_value
from graphnas.compiler.meta import set_changed_inputs, set_shared_inputs, set_type
from graphnas.compiler.narrowing import is_mapping
from graphnas.compiler.parts import Example, of_whole
from graphnas.compiler.record import Recording, refuse_opaque
from graphnas.compiler.torch_typed import paths_of, seed, storages_of, version_of, versions_of
from graphnas.compiler.values import ScopedGraph
from graphnas.compiler.verify import untouched


class Lowered(fx.GraphModule):
    """A graph module that knows which graph its code was generated from."""

    def recompile(self) -> Any:
        self.generated_from = _Snapshot(self.graph)
        return super().recompile()

    def runs_its_graph(self) -> bool:
        """Whether the forward is the code of the graph as it stands."""
        return "forward" not in vars(self) and self.generated_from.words == _words(self.graph)


class _Snapshot:
    """What a graph said at one moment."""

    def __init__(self, graph: fx.Graph) -> None:
        self.words = _words(graph)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Snapshot:
        return self  # a copied module generates its code anew, and takes a snapshot of its own then


def _words(graph: fx.Graph) -> list[Any]:
    return [(node, node.op, node.target, node.args, node.kwargs) for node in graph.nodes]


def reads(module: nn.Module, ancestors: Collection[str]) -> bool:
    """Whether the recording of a module can be read off its graph.

    Args:
        module: Any module.
        ancestors: Paths of the modules that a recording looks into.
    """
    if not isinstance(module, Lowered) or not all(map(_is_readable, module.graph.nodes)) or not module.runs_its_graph():
        return False
    called = [str(node.target) for node in module.graph.find_nodes(op="call_module")]
    modules = dict(paths_of(module))  # without a second path of one module
    return len(set(called)) == len(called) and all(path in modules and path not in ancestors for path in called)


def _is_readable(node: fx.Node) -> bool:
    """Whether a recording has the very node that the graph has."""
    if node.op == "call_module":
        return all(isinstance(value, fx.Node) for value in (*node.args, *node.kwargs.values()))
    if node.op == "call_function":  # a value out of the tuple that a module below returns, whose size is the graph's of that module
        return node.target is operator.getitem and isinstance(node.args[0], fx.Node) and isinstance(node.args[1], int)
    return node.op in ("placeholder", "output")


def read(module: nn.Module, example: Example, ancestors: Collection[str]) -> Recording:
    """The recording of a module that ``reads`` says yes to, with what either mode changes in place.

    Args:
        module: The module; left as it was.
        example: Its inputs.
        ancestors: Paths of the modules that a recording looks into.
    Raises:
        Refusal: The module, or one that holds its nodes' modules, has hooks.
    """
    for path, submodule in paths_of(module):
        if path in ancestors:
            refuse_opaque(path, submodule)
    assert isinstance(module, Lowered)
    given = example.whole if example.part is None else example.part
    with untouched(module):
        evaluated, trained = (_run(module, given, training=training) for training in (False, True))
    recording = _Reader(evaluated).recording(trained)
    if example.hollow is None:
        return recording
    assert isinstance(example.hollow.module, Lowered)
    sized = of_whole(recording, _Reader(_run(example.hollow.module, example.hollow.arguments, training=False)).graph)
    assert sized is not None
    return sized


def _run(module: Lowered, arguments: Mapping[str, Tensor], *, training: bool) -> _Run:
    module.train(training)
    seed(0)
    with torch.no_grad():
        return _Run(module, arguments)


class _Run:
    """One run of a graph module, node by node, in the mode that it is in.

    Attributes:
        values: Node of its graph -> the value.
        results: Path of each submodule that a node calls, and key of a part of its value -> the node that has it, and its version then.
        changes: Node -> those of its inputs, by position, that it changed in place.
    """

    def __init__(self, module: Lowered, arguments: Mapping[str, Tensor]) -> None:
        self.module, self.source, self.arguments = module, module.graph, arguments
        self.values: dict[fx.Node, Any] = {}
        self.results: dict[tuple[str, int | str | None], tuple[fx.Node, int]] = {}
        self.changes: dict[fx.Node, list[int]] = {}
        for node in self.source.nodes:
            if node.op == "placeholder":
                self.values[node] = arguments.get(str(node.target))
            elif node.op == "call_module":
                self.call(node)
            elif node.op == "call_function":  # a part of what a module returned
                whole, key = _part(node)
                self.values[node] = self.values[whole][key]
                self.log(str(whole.target), key, node)
        [returned] = self.source.output_node().args
        for key, node in returned.items() if is_mapping(returned) else [(None, returned)]:
            assert isinstance(node, fx.Node)
            self.log("", key, node)

    def call(self, node: fx.Node) -> None:
        """Run a node's module as a whole."""
        path, values = str(node.target), self.values
        args, kwargs = _arguments(node)
        given = self.given(node)
        before = versions_of([tensor for _, tensor in given])
        values[node] = self.module.get_submodule(path)(*(values[a] for a in args), **{name: values[a] for name, a in kwargs.items()})
        self.log(path, None, node)
        if (after := versions_of([tensor for _, tensor in given])) != before:
            self.changes[node] = _positions(given, [one != other for one, other in zip(before, after, strict=True)])

    def given(self, node: fx.Node) -> list[tuple[int, Tensor]]:
        """The tensors in a node's inputs, each with the input's position."""
        return [(i, tensor) for i, read in enumerate(node.all_input_nodes) for tensor in tensors_in(self.values[read])]

    def log(self, path: str, key: int | str | None, node: fx.Node) -> None:
        if isinstance(value := self.values[node], Tensor):
            self.results[path, key] = node, version_of(value)

    @property
    def changed(self) -> frozenset[tuple[str, int | str | None]]:
        """The results that something changed in place later."""
        return frozenset(key for key, (node, version) in self.results.items() if version_of(self.values[node]) != version)


class _Reader:
    """Makes the nodes of a recording as a recorder makes them."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.graph = ScopedGraph()
        self.nodes: dict[fx.Node, fx.Node] = {}  # a part of a value has one once something reads it
        inputs = {str(node.target): node for node in run.source.find_nodes(op="placeholder")}
        for name in run.arguments:
            self.keep(inputs[name], self.graph.placeholder(name))
        for node in run.source.find_nodes(op="call_module", sort=True):
            self.call(node)
        [returned] = run.source.output_node().args
        self.graph.output(fx.map_arg(returned, self.node))

    def recording(self, trained: _Run) -> Recording:
        made = {key: self.nodes[node] for key, (node, _) in self.run.results.items() if node in self.nodes}
        whole = {path: node for (path, key), node in made.items() if key is None}
        parts = {(path, key): node for (path, key), node in made.items() if key is not None}
        return Recording(self.graph, whole, parts, self.run.changed | trained.changed)

    def call(self, node: fx.Node) -> None:
        args, kwargs = _arguments(node)
        made = self.graph.call_module(str(node.target), tuple(map(self.node, args)), {name: self.node(a) for name, a in kwargs.items()})
        self.keep(node, made)
        if (changed := self.run.changes.get(node)) is not None:
            set_changed_inputs(made, changed)
        memory = set(storages_of([*tensors_in(self.run.values[node])])) - {None}
        given = self.run.given(node)
        if shared := _positions(given, [storage in memory for storage in storages_of([tensor for _, tensor in given])]):
            set_shared_inputs(made, shared)

    def node(self, node: fx.Node) -> fx.Node:
        """What stands for a node; a part is taken out where it is first needed."""
        if node not in self.nodes:
            whole, key = _part(node)
            self.keep(node, self.graph.call_function(operator.getitem, (self.node(whole), key)))
        return self.nodes[node]

    def keep(self, node: fx.Node, made: fx.Node) -> None:
        if isinstance(value := self.run.values[node], Tensor):
            set_type(made, type_of_value(value))
        self.nodes[node] = made


def _part(node: fx.Node) -> tuple[fx.Node, int]:
    """The value that a readable function takes a part out of, and which one."""
    whole, key = node.args
    assert isinstance(whole, fx.Node)
    assert isinstance(key, int)
    return whole, key


def _positions(given: Sequence[tuple[int, Tensor]], wanted: Sequence[bool]) -> list[int]:
    """The inputs, by position, any of whose tensors is wanted."""
    return sorted({i for (i, _), want in zip(given, wanted, strict=True) if want})


def _arguments(node: fx.Node) -> tuple[list[fx.Node], dict[str, fx.Node]]:
    """What a readable node hands to its module: nodes, and nothing else."""
    args = [value for value in node.args if isinstance(value, fx.Node)]
    return args, {name: value for name, value in node.kwargs.items() if isinstance(value, fx.Node)}
