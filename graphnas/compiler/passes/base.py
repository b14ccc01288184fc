"""Rewrites of FX graphs: each has a check that gives its reason and an edit that can't fail; the driver lints once a pass."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import fx

log = logging.getLogger("graphnas")


class Rule(ABC):
    """One rewrite of one node."""

    @abstractmethod
    def why_not(self, gm: fx.GraphModule, node: fx.Node) -> str | None:
        """Why this node stays as it is; ``None`` if it is to be rewritten."""

    @abstractmethod
    def rewrite(self, gm: fx.GraphModule, node: fx.Node) -> None:
        """Edit the graph at a node that ``why_not`` has nothing against."""

    def order(self, graph: fx.Graph) -> Iterable[fx.Node]:
        """The nodes in the order in which they are to be looked at."""
        return list(graph.nodes)


def apply(rule: Rule, gm: fx.GraphModule) -> int:
    """Rewrite every node that the rule takes; returns how many.

    Raises:
        RuntimeError: The rule left a broken graph (our own bug); names the rule.
    """
    count = 0
    for node in rule.order(gm.graph):
        reason = rule.why_not(gm, node)
        if reason is None:
            rule.rewrite(gm, node)
            count += 1
        elif log.isEnabledFor(logging.DEBUG):
            log.debug("%s: %s stays: %s", type(rule).__name__, node.name, reason)
    try:
        gm.graph.lint()
        gm.recompile()
    except RuntimeError as error:
        raise RuntimeError(f"{type(rule).__name__} broke the graph: {error}") from error
    return count
