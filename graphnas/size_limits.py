"""How large a spec may be: a stated limit, checked before anything is expanded, which whoever runs it may raise and a file never can."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

MAX_NODES = 100_000
"""Nodes of a network, repetitions and networks inside it spelled out; also entries of one mapping or list of a file."""
VALUES_PER_NODE = 10
"""A file may hold this many times as many values."""

_MAX_NODES: ContextVar[int] = ContextVar("_MAX_NODES", default=MAX_NODES)


def max_nodes() -> int:
    """The limit that holds now."""
    return _MAX_NODES.get()


@contextmanager
def limits(*, max_nodes: int) -> Generator[None]:
    """Let specs have so many nodes meanwhile, as ``--max-nodes`` does for a command: ``with gn.limits(max_nodes=1_000_000): ...``.

    Args:
        max_nodes: Nodes of a network, with all repetitions and all networks inside it.
    """
    token = _MAX_NODES.set(max_nodes)
    try:
        yield
    finally:
        _MAX_NODES.reset(token)


def to_raise(count: int) -> str:
    """How one lets so many nodes through, for the fix of a message."""
    return f"--max-nodes {count} (in Python: with gn.limits(max_nodes={count:_}))"
