"""What is left where more than the primary's network stays at inference, and how it is built again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphnas.compiler.supernet import Supernet
from graphnas.spec import dump_spec
from graphnas.spec.network import NetworkSpec
from graphnas.spec.search_space import SearchSpaceSpec


@dataclass(frozen=True)
class Kept:
    """The supernet that a network was pruned from, and what was cut.

    Args:
        primary: The primary task.
        networks: Task -> its bound network spec; ``None`` for a module of the user's own.
        inputs: Task -> input -> the shape that it was recorded at, batch first.
        space: The search space.
        cut: Ids of the links that are gone.
        left: Id of every link that stays and has gates -> the candidates that it keeps.
    """

    primary: str
    networks: Mapping[str, NetworkSpec | None]
    inputs: Mapping[str, Mapping[str, tuple[int, ...]]]
    space: SearchSpaceSpec
    cut: tuple[str, ...]
    left: Mapping[str, Sequence[str]]

    @staticmethod
    def of(net: Supernet, cut: Sequence[str], left: Mapping[str, Sequence[str]]) -> Kept:
        """That of a supernet."""
        branches = net.recorded
        return Kept(
            net.primary,
            {task: branch.spec for task, branch in branches.items()},
            {task: {name: tuple(value.shape) for name, value in branch.example.items()} for task, branch in branches.items()},
            net.space,
            tuple(cut),
            dict(left),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {
            "primary": self.primary,
            "networks": {task: None if spec is None else dump_spec(spec) for task, spec in self.networks.items()},
            "inputs": {task: {name: list(shape) for name, shape in shapes.items()} for task, shapes in self.inputs.items()},
            "space": dump_spec(self.space),
            "cut": list(self.cut),
            "left": {link: list(names) for link, names in self.left.items()},
        }
