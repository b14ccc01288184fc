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
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphnas.compiler.calls import tensors_in, type_of_value
from graphnas.compiler.meta import set_changed_inputs, set_shared_inputs, set_type
from graphnas.compiler.narrowing import is_mapping
from graphnas.compiler.parts import Example, of_whole
from graphnas.compiler.record import Recording, refuse_opaque
from graphnas.compiler.torch_typed import paths_of, seed, storage_of, version_of
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
    evaluated, trained = (_run(module, given, training=training) for training in (False, True))
    whole = {path: node for (path, key), node in evaluated.made.items() if key is None}
    parts = {(path, key): node for (path, key), node in evaluated.made.items() if key is not None}
    recording = Recording(evaluated.graph, whole, parts, evaluated.changed | trained.changed)
    if example.hollow is None:
        return recording
    assert isinstance(example.hollow.module, Lowered)
    large = _run(example.hollow.module, example.hollow.arguments, training=False)
    sized = of_whole(recording, large.graph)
    assert sized is not None
    return sized


def _run(module: Lowered, arguments: Mapping[str, Tensor], *, training: bool) -> _Run:
    with untouched(module), torch.no_grad():
        module.train(training)
        seed(0)
        return _Run(module, arguments)


class _Run:
    """One run of a graph module, node by node, in the mode that it is in; the nodes are made as a recorder makes them.

    Attributes:
        graph: The recording.
        made: Path of each submodule that a node calls, and key of a part of its value -> the node that has it.
        changed: Those that something changed in place later.
    """

    def __init__(self, module: fx.GraphModule, arguments: Mapping[str, Tensor]) -> None:
        self.module, self.source = module, module.graph
        self.graph = ScopedGraph()
        self.values: dict[fx.Node, Any] = {}  # node of the module's graph -> its value
        self.nodes: dict[fx.Node, fx.Node] = {}  # -> node of the recording; a part of a value has one once something reads it
        self.results: dict[tuple[str, int | str | None], tuple[fx.Node, int]] = {}
        self.inputs(arguments)
        for node in self.source.nodes:
            if node.op == "call_module":
                self.call(node)
            elif node.op == "call_function":
                self.part(node)
        [returned] = self.source.output_node().args
        self.graph.output(fx.map_arg(returned, self.node))
        for key, node in returned.items() if is_mapping(returned) else [(None, returned)]:
            assert isinstance(node, fx.Node)
            self.log("", key, node)
        self.made = {key: self.nodes[node] for key, (node, _) in self.results.items() if node in self.nodes}
        self.changed = frozenset(key for key, (node, version) in self.results.items() if version_of(self.values[node]) != version)

    def inputs(self, arguments: Mapping[str, Tensor]) -> None:
        placeholders = {str(node.target): node for node in self.source.find_nodes(op="placeholder")}
        for name, value in arguments.items():
            self.values[placeholders[name]] = value
            self.nodes[placeholders[name]] = self.typed(self.graph.placeholder(name), value)

    def call(self, node: fx.Node) -> None:
        """Run a node's module as a whole, and note what it did to what it was given."""
        path, values = str(node.target), self.values
        args, kwargs = _arguments(node)
        inputs = node.all_input_nodes
        before = [[(tensor, version_of(tensor)) for tensor in tensors_in(values[read])] for read in inputs]
        value = self.module.get_submodule(path)(*(values[a] for a in args), **{name: values[a] for name, a in kwargs.items()})
        made = self.graph.call_module(path, tuple(map(self.node, args)), {name: self.node(a) for name, a in kwargs.items()})
        values[node], self.nodes[node] = value, self.typed(made, value)
        self.log(path, None, node)
        memory = {storage_of(tensor) for tensor in tensors_in(value)} - {None}
        changed = [i for i, known in enumerate(before) if any(version_of(tensor) != version for tensor, version in known)]
        shared = [i for i, known in enumerate(before) if any(storage_of(tensor) in memory for tensor, _ in known)] if memory else []
        if changed:
            set_changed_inputs(made, changed)
        if shared:
            set_shared_inputs(made, shared)

    def part(self, node: fx.Node) -> None:
        """A part of what a module returned."""
        whole, key = node.args
        assert isinstance(whole, fx.Node)
        assert isinstance(key, int)
        self.values[node] = self.values[whole][key]
        self.log(str(whole.target), key, node)

    def node(self, node: fx.Node) -> fx.Node:
        """What stands for a node; a part is taken out where it is first needed."""
        if node not in self.nodes:
            whole, key = node.args
            assert isinstance(whole, fx.Node)
            self.nodes[node] = self.typed(self.graph.call_function(operator.getitem, (self.node(whole), key)), self.values[node])
        return self.nodes[node]

    def typed(self, made: fx.Node, value: Any) -> fx.Node:
        if isinstance(value, Tensor):
            set_type(made, type_of_value(value))
        return made

    def log(self, path: str, key: int | str | None, node: fx.Node) -> None:
        if isinstance(value := self.values[node], Tensor):
            self.results[path, key] = node, version_of(value)


def _arguments(node: fx.Node) -> tuple[list[fx.Node], dict[str, fx.Node]]:
    """What a readable node hands to its module: nodes, and nothing else."""
    args = [value for value in node.args if isinstance(value, fx.Node)]
    return args, {name: value for name, value in node.kwargs.items() if isinstance(value, fx.Node)}
