"""``replace`` leaves a tap's own value unread: remove it, all upstream that nothing else reads, and the modules that made it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx, nn

from graphnas.compiler.meta import origin_of
from graphnas.compiler.torch_typed import is_erased, own_buffers, own_parameters


def remove_unread(graph: fx.Graph, modules: nn.Module, values: Iterable[fx.Node]) -> None:
    """Erase these values and what only they read, and drop the submodules of a branch that no node calls any more.

    Only upstream of the given values: a node elsewhere whose result is unread may be there for its effect.
    """
    erased: set[str] = set()
    waiting = list(values)
    while waiting:
        node = waiting.pop()
        origin = origin_of(node)
        if node.users or origin is None or origin.kind == "input" or node.graph is not graph or is_erased(node):
            continue
        upstream = node.all_input_nodes
        if node.op in ("call_module", "get_attr"):
            erased.add(str(node.target))
        graph.erase_node(node)
        waiting += upstream
    used = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")}
    for target in erased - used:
        _drop(modules, target)


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
