"""``network``: a node that is a network of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator
from torch import nn

from graphnas.compiler.infer import INNER, copies, infer
from graphnas.compiler.lower import lower
from graphnas.errors import SpecError
from graphnas.graph.graph import Graph
from graphnas.graph.types import ValueType
from graphnas.ops.base import Operation, Statistics, TypeRuleError
from graphnas.ops.rules import Checked
from graphnas.schema import error_at, refuse
from graphnas.spec.network import NetworkSpec


class Network(Operation):
    """Another network: its inputs in order are those of the node, its only output is the node's value; what is inside may be read too."""

    op: Literal["network"] = "network"
    use: Annotated[NetworkSpec, Checked(NetworkSpec.model_validate, {"type": ["string", "object"]})] = Field(examples=["block.yaml"])
    """A preset, a path relative to this file, or the network itself."""
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any], examples=[{"channels": 64}])
    """Values of its parameters."""
    _bound: NetworkSpec | None = PrivateAttr(default=None)
    _graphs: dict[tuple[ValueType, ...], Graph] = PrivateAttr(default_factory=dict[tuple[ValueType, ...], Graph])

    @model_validator(mode="after")
    def _known_parameters(self) -> Network:
        refuse(error_at(("parameters", name), message, fix) for name, message, fix in self.use.wrong_parameters(self.parameters))
        return self

    @property
    def image_statistics(self) -> frozenset[Statistics]:
        return frozenset(found for copy in copies(self.network) for found in copy.operation.image_statistics)

    def infer(self, inputs: Sequence[ValueType]) -> ValueType:
        graph = self._graph(inputs)
        return _type_of(graph, next(iter(graph.outputs.values())))

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return self._graph(inputs).macs or 0

    def macs_until(self, inputs: Sequence[ValueType], names: Sequence[str]) -> int:
        total, until = 0, 0
        for node in self._graph(inputs).nodes:
            total += node.macs or 0
            if any(name == node.name or name.startswith(f"{node.name}.") for name in names):
                until = total
        return until

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return self._graph(inputs).parameters

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return lower(self.network, self._graph(inputs))

    def inner(self, inputs: Sequence[ValueType]) -> Mapping[str, ValueType]:
        graph = self._graph(inputs)
        operations = {copy.name: copy.operation for copy in copies(self.network)}
        found: dict[str, ValueType] = {}
        for node in graph.nodes:
            if node.op in ("input", INNER):
                continue
            values = [_type_of(graph, name) for name in node.inputs]
            found.update({f"{node.name}.{path}": value for path, value in operations[node.name].inner(values).items()})
            found[node.name] = _type_of(graph, node.name)
        return found

    @property
    def network(self) -> NetworkSpec:
        """The network with its parameters bound.

        Raises:
            TypeRuleError: The parameters given here do not fit.
            SpecError: With them, something inside does not.
        """
        if self._bound is None:
            try:
                self._bound = self.use.bind(self.parameters)
            except SpecError as error:
                if not all(p.path.startswith("parameters") for p in error.problems):
                    raise
                message = "; ".join(f"{p.path.removeprefix('parameters.')}: {p.message}" for p in error.problems)
                raise TypeRuleError(message, field="parameters", fix=error.problems[0].fix) from error
        return self._bound

    def _graph(self, inputs: Sequence[ValueType]) -> Graph:
        key = tuple(inputs)
        if key not in self._graphs:
            names = list(self.network.inputs)
            if len(names) != len(key):
                raise TypeRuleError(f"the network reads {len(names)} values ({', '.join(names)}), got {len(key)}", fix="name one for each")
            if len(self.network.outputs) != 1:
                outputs = ", ".join(self.network.outputs)
                raise TypeRuleError(
                    f"the network has {len(self.network.outputs)} outputs ({outputs}), and a node has one value", field="use"
                )
            self._graphs[key] = infer(self.network, dict(zip(names, key, strict=True)))
        return self._graphs[key]


def _type_of(graph: Graph, name: str) -> ValueType:
    found = graph.by_name[name].type
    assert found is not None
    return found
