"""``replace`` leaves a tap's own value unread: remove it, all upstream that nothing else reads, and the modules that made it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx, nn

from graphnas.compiler.meta import origin_of
from graphnas.compiler.torch_typed import own_buffers, own_parameters
from graphnas.compiler.views import needed_nodes, outputs_of


def remove_unread(graph: fx.Graph, modules: nn.Module, values: Iterable[fx.Node]) -> None:
    """Erase what only these values were for, and drop the submodules that no node calls any more.

    Only they, what they are computed from in their own branches, and what else was made of that: an unread node elsewhere may be there for
    its effect.
    """
    needed = needed_nodes(graph, outputs_of(graph).values())
    unread: set[fx.Node] = set()
    waiting = list(values)
    tasks = {origin.task for node in waiting if (origin := origin_of(node)) is not None}
    while waiting:
        node = waiting.pop()
        origin = origin_of(node)
        if node not in needed and node not in unread and origin is not None and origin.kind != "input" and origin.task in tasks:
            unread.add(node)
            waiting += node.all_input_nodes
    for node in graph.nodes:
        if node not in needed and not unread.isdisjoint(node.all_input_nodes) and origin_of(node) is not None:
            unread.add(node)
    for node in reversed(graph.nodes):
        if node in unread:
            graph.erase_node(node)
    erased, used = _targets(unread), _targets(graph.nodes)
    for target in sorted(erased - used):
        _drop(modules, target)


def _targets(nodes: Iterable[fx.Node]) -> set[str]:
    """What these nodes name: submodules, parameters, flags."""
    return {str(node.target) for node in nodes if node.op in ("call_module", "get_attr")}


def _drop(modules: nn.Module, target: str) -> None:
    """Delete a submodule, parameter or buffer, and the containers that this leaves empty."""
    *path, name = target.split(".")
    owners = [modules]
    for part in path:
        owners.append(owners[-1].get_submodule(part))
    delattr(owners[-1], name)
    for owner, inner, part in zip(reversed(owners[:-1]), reversed(owners[1:]), reversed(path), strict=True):
        if part in ("branches", "joints") or any(True for _ in inner.children()) or own_parameters(inner) or own_buffers(inner):
            return
        delattr(owner, part)
