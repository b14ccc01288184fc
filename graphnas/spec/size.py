"""How many nodes a network has, repetitions and networks inside it spelled out: counted from what is written, nothing is expanded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from graphnas.registry import operations
from graphnas.schema import Spec, error_at
from graphnas.size_limits import max_nodes, to_raise
from graphnas.spec.shape import registered
from graphnas.spec.template import Template, documents_in

if TYPE_CHECKING:
    from pydantic_core import InitErrorDetails

    from graphnas.spec.network import NetworkSpec

_Known = dict[tuple[int, str], int]


def node_count(network: NetworkSpec, parameters: Mapping[str, object] | None = None) -> int:
    """The nodes of a network; what depends on a parameter without a value counts as if that were as small as can be.

    Args:
        network: Any; parameters need not be bound.
        parameters: Values of its parameters; ``None`` for a network that is still to be bound: defaults don't count.
    """
    return _total(network, parameters, {})


def too_large(network: NetworkSpec) -> Iterator[InitErrorDetails]:
    """The error of a network with more nodes than the limit, at the node that goes beyond it, for a validator to raise."""
    most, total, known = max_nodes(), 0, _Known()
    counts = {name: _count(node, None, known) for name, node in network.nodes.items()}
    for name, count in counts.items():
        total += count
        if total > most:
            whole = sum(counts.values())
            node = network.nodes[name]
            where = "repeat" if _field(node, "repeat", 1) != 1 else next(iter(_inside(node)), None)
            said = f"{whole:,}" if whole < 10**12 else f"about 10^{whole.bit_length() * 30103 // 100_000}"
            message = f"the network has {said} nodes, repetitions and networks inside it spelled out; the limit is {most:,}"
            fix = f"fewer, or {to_raise(whole)}" if whole < 10**12 else "fewer"
            yield error_at(("nodes", name) if where is None else ("nodes", name, where), message, fix)
            return


def _total(network: NetworkSpec, parameters: Mapping[str, object] | None, known: _Known) -> int:
    key = (id(network), repr(sorted(parameters.items())) if parameters is not None else "")
    if key not in known:
        values = None if parameters is None else {name: parameters.get(name, p.default) for name, p in network.parameters.items()}
        known[key] = sum(_count(node, values, known) for node in network.nodes.values())
    return known[key]


def _count(node: Any, values: Mapping[str, object] | None, known: _Known) -> int:
    """One node's, its repetitions among them."""
    repeat = _bound(_field(node, "repeat", 1), values)
    inside = [_field(node, field, None) for field in _inside(node)]
    each = 1
    if inside:
        given = _field(node, "parameters", {})
        own = {name: _bound(value, values) for name, value in cast(Mapping[str, Any], given).items()} if isinstance(given, Mapping) else {}
        each = sum(_total(network, own, known) for network in inside)
    return max(each, 1) * (repeat if isinstance(repeat, int) and repeat > 0 else 1)


def _field(node: Any, name: str, otherwise: Any) -> Any:
    return node.data.get(name, otherwise) if isinstance(node, Template) else getattr(node, name, otherwise)


def _inside(node: Any) -> list[str]:
    """The fields of a node that hold networks, and do."""
    from graphnas.spec.network import NetworkSpec  # which counts itself

    models: list[type[Spec]] = [*registered(operations, node.op)] if isinstance(node, Template) else [type(node)]
    return [field for model in models for field in documents_in(model) if isinstance(_field(node, field, None), NetworkSpec)]


def _bound(value: Any, values: Mapping[str, object] | None) -> Any:
    """A value, or that of the parameter that stands there; ``None`` where that is not known."""
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    return None if values is None else values.get(value[1:])
