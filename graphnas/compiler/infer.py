"""Type inference: a bound network spec x the types of its inputs -> the typed graph, before any module is built.

Nodes may stand in any order in the spec; the graph is in topological order and, where the spec's own order is one, in that. All that does
not fit is reported at once, each at its line; what only reads a value that failed is not reported again. Linear in nodes and inputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import fx, nn

from graphnas.errors import Problem, SpecError, suggest
from graphnas.graph.graph import Graph, Node
from graphnas.graph.types import TypePattern, ValueType, parse_type
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.rules import name_of
from graphnas.spec.network import NetworkSpec

INNER = "value"
"""The ``op`` of a graph node that stands for a value inside another node: ``encoder.blocks.2``, which reads ``encoder``."""

_TAKEN = frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph())))  # attributes that a submodule can't replace
_TAKEN_INSIDE = frozenset(dir(nn.Module()))


@dataclass(frozen=True)
class Copy:
    """One node to be: a node of the spec, or one of its repetitions.

    Args:
        name: ``NAME``, or ``NAME.i`` for a repeated one.
        spec_name: The key below ``nodes``.
        operation: The operation.
        reads: What it reads, as written; an earlier copy's name for a later repetition.
    """

    name: str
    spec_name: str
    operation: Operation
    reads: tuple[str, ...]


def copies(network: NetworkSpec) -> list[Copy]:
    """The nodes of a bound network, repetitions spelled out, in the spec's order."""
    found: list[Copy] = []
    previous = next(iter(network.inputs)) if len(network.inputs) == 1 else None
    for name, operation in network.nodes.items():
        assert isinstance(operation, Operation), "the network's parameters are not bound"
        reads = operation.reads if operation.reads is not None else () if previous is None else (previous,)
        for i in range(operation.repeat):
            own = name if operation.repeat == 1 else f"{name}.{i}"
            found.append(Copy(own, name, operation, reads if i == 0 else (found[-1].name,)))
        previous = name
    return found


def infer(network: NetworkSpec, inputs: Mapping[str, ValueType]) -> Graph:
    """The typed graph of a network.

    Args:
        network: Bound: no parameters are left.
        inputs: Types by name, at the size that the network is built for; may hold more than the network reads.
    Raises:
        SpecError: Inputs, types or names that do not fit, a cycle, an output that nothing makes: all of them.
    """
    return _Inference(network).run(inputs)


_Reference = tuple[str, str]  # a node or input, and the path inside it; "" for its own value


@dataclass
class _Inference:
    network: NetworkSpec
    problems: list[Problem] = field(default_factory=list[Problem])
    types: dict[str, ValueType] = field(default_factory=dict[str, ValueType])
    made: dict[str, Node] = field(default_factory=dict[str, Node])  # in topological order
    inside: dict[str, Mapping[str, ValueType]] = field(default_factory=dict[str, Mapping[str, ValueType]])

    def run(self, inputs: Mapping[str, ValueType]) -> Graph:
        nodes = {node.name: node for node in copies(self.network)}
        self.names = value_names(self.network)
        self.problems += _bad_names(self.network, nodes.values())
        self.bind_inputs(inputs)
        reads = {node.name: self.references(node) for node in nodes.values()}
        outputs = {name: self.reference(value, "outputs", name) for name, value in self.network.outputs.items()}
        wanted: dict[str, dict[str, None]] = {}  # node -> the paths inside it that something reads
        for name, path in (reference for found in [*reads.values(), outputs.values()] for reference in found if reference is not None):
            wanted.setdefault(name, {})[path] = None
        for node in self.ordered(nodes, reads):
            self.make(node, reads[node.name], wanted.get(node.name, {}))
        named = {name: self.value(reference, "outputs", name) for name, reference in outputs.items() if reference is not None}
        if self.problems:
            raise SpecError(sorted(self.problems, key=_place))
        return Graph(tuple(self.made.values()), {name: value for name, value in named.items() if value is not None})

    def problem(self, message: str, *path: str | int, fix: str | None = None) -> None:
        self.problems.append(self.network.problem(message, *path, fix=fix))

    def bind_inputs(self, given: Mapping[str, ValueType]) -> None:
        sizes: dict[str, int] = {}
        for name, text in self.network.inputs.items():
            if name not in given:
                self.problem(f"no input {name!r} is given", "inputs", name, fix=suggest(name, given))
            elif not _fits(parse_type(text), given[name], sizes):
                self.problem(f"{name} is {text}, but {given[name]} is given", "inputs", name, fix=f'"{given[name]}"')
            else:
                self.types[name] = given[name]
                self.made[name] = Node(name, "input", (), given[name], macs=0, where=self.network.where("inputs", name))

    def references(self, node: Copy) -> list[_Reference | None]:
        if not node.reads:
            self.problem("which value does it read?", "nodes", node.spec_name, fix=f"inputs: {next(iter(self.network.inputs), 'NAME')}")
        places = node.operation.places
        return [self.reference(name, "nodes", node.spec_name, *place) for name, place in zip(node.reads, places, strict=False)]

    def reference(self, name: str, *path: str | int) -> _Reference | None:
        """What a name stands for; ``None``, and a problem, if nothing in the spec bears it."""
        found = resolve(name, self.names)
        if found is None or (found[1] and found[0] in self.network.inputs):
            self.problem(f"nothing makes {name!r}", *path, fix=suggest(name, self.names))
            return None
        return found

    def value(self, reference: _Reference, *path: str | int) -> str | None:
        """The graph node of a reference; ``None`` if it failed, and a problem if nothing of that name is inside a node that did not."""
        name = _joined(*reference)
        if name in self.types:
            return name
        node, inner = reference
        if inner and node in self.inside:
            known = [_joined(node, other) for other in self.inside[node]]
            self.problem(
                f"nothing makes {name!r}", *path, fix=suggest(name, known) if known else f"{node} has no values inside: read {node}"
            )
        return None

    def ordered(self, nodes: Mapping[str, Copy], reads: Mapping[str, Sequence[_Reference | None]]) -> list[Copy]:
        """The nodes, each after what it reads, in the spec's order where that allows it."""
        order: dict[str, Copy] = {}
        for start in nodes:
            way = {} if start in order else {start: _waits(start, nodes, reads)}  # node -> what it still waits for
            while way:
                name = next(reversed(way))
                other = next((other for other in way[name] if other not in order), None)
                if other is None:
                    del way[name]
                    order[name] = nodes[name]
                elif other in way:
                    self.cycle(nodes, [*way, other])
                else:
                    way[other] = _waits(other, nodes, reads)
        return list(order.values())

    def cycle(self, nodes: Mapping[str, Copy], way: Sequence[str]) -> None:
        looped = way[way.index(way[-1]) :]
        steps = ", ".join(f"{one} reads {other}" for one, other in itertools.pairwise(looped))
        self.problem(f"a cycle: {steps}", "nodes", nodes[looped[-2]].spec_name, "inputs", fix="read a value that is made before")

    def make(self, node: Copy, reads: Sequence[_Reference | None], wanted: Mapping[str, None]) -> None:
        """Infer one node and the values inside it that others read."""
        found = [
            None if read is None else self.value(read, "nodes", node.spec_name, *place)
            for read, place in zip(reads, node.operation.places, strict=False)
        ]
        names = [name for name in found if name is not None]
        if not names or len(names) < len(reads):
            return  # what it reads failed, which has been said
        values = [self.types[name] for name in names]
        try:
            made, inside = self.inferred(node, names, values, wanted)
        except TypeRuleError as error:
            among = f" ({', '.join(names)})" if error.field is None and len(names) > 1 else ""
            self.problem(f"{error}{among}", "nodes", node.spec_name, error.field or "inputs", fix=error.fix)
            return
        except SpecError as error:  # of a nested network, at its own lines
            self.problems += error.problems
            return
        self.inside[node.name] = inside
        self.keep(made)
        for path in wanted:
            if path in inside:
                self.keep(Node(_joined(node.name, path), INNER, (node.name,), inside[path], macs=0, where=made.where))

    def keep(self, made: Node) -> None:
        assert made.type is not None
        self.made[made.name], self.types[made.name] = made, made.type

    def inferred(
        self, node: Copy, names: Sequence[str], values: Sequence[ValueType], wanted: Mapping[str, None]
    ) -> tuple[Node, Mapping[str, ValueType]]:
        operation = node.operation
        if operation.repeat > 1 and len(values) > 1:
            raise TypeRuleError(f"reads {len(values)} values; only what reads one can be repeated", field="repeat", fix="repeat: 1")
        result = operation.infer(values)
        inside: Mapping[str, ValueType] = operation.inner(values) if any(wanted) else {}
        until_inner = "" not in wanted and wanted and all(path in inside for path in wanted)
        macs = operation.macs_until(values, list(wanted)) if until_inner else operation.macs(values)
        where = self.network.where("nodes", node.spec_name)
        return Node(node.name, name_of(operation), tuple(names), result, operation.parameter_count(values), macs, where), inside


def value_names(network: NetworkSpec) -> dict[str, str]:
    """Every name that can be read in a network -> the input or node that it stands for: of a repeated node's name, the last copy."""
    names = {name: name for name in network.inputs}
    for node in copies(network):
        names[node.name] = names[node.spec_name] = node.name
    return names


def resolve(name: str, names: Mapping[str, str]) -> _Reference | None:
    """The node that a name stands for, or lies in, and the path inside it."""
    head, path = name, ""
    while head not in names:
        head, dot, last = head.rpartition(".")
        if not dot:
            return None
        path = f"{last}.{path}" if path else last
    return names[head], path


def _place(problem: Problem) -> tuple[str, int, int]:
    where = problem.where
    return ("", 0, 0) if where is None else (where.source, where.line or 0, where.column or 0)


def _fits(pattern: TypePattern, value: ValueType, sizes: dict[str, int]) -> bool:
    """Whether a value is of a type as written; equal names stand for equal sizes, across inputs too."""
    try:
        bound = pattern.bind(value.shape)
    except ValueError:
        return False
    named = zip(pattern.names, value.shape, strict=True)
    return type(bound) is type(value) and all(name.isdigit() or sizes.setdefault(name, size) == size for name, size in named)


def _waits(name: str, nodes: Mapping[str, Copy], reads: Mapping[str, Sequence[_Reference | None]]) -> Iterator[str]:
    return (reference[0] for reference in reads[name] if reference is not None and reference[0] in nodes)


def _bad_names(network: NetworkSpec, nodes: Iterable[Copy]) -> list[Problem]:
    """Names that stand twice, lie inside another node's module, or that a module can't have."""
    seen = set(network.inputs)
    problems: list[Problem] = []
    nodes = list(nodes)
    taken = {node.name for node in nodes}
    for node in nodes:
        parts = node.name.split(".")
        outer = next((name for name in itertools.accumulate(parts[:-1], "{}.{}".format) if name in taken), None)
        message, fix = None, "another name"
        if node.name in seen:
            message = f"{node.name!r} stands twice"
        elif outer is not None:
            message = f"{node.name!r} would lie inside the module of {outer!r}"
        elif parts[0] in _TAKEN or any(part in _TAKEN_INSIDE for part in parts[1:]):
            message, fix = f"no module can be called {node.name!r}", f"{node.name}_"
        if message is not None:
            problems.append(network.problem(message, "nodes", node.spec_name, fix=fix))
        seen.add(node.name)
    return problems


def _joined(node: str, path: str) -> str:
    return f"{node}.{path}" if path else node
