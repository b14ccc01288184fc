"""A network that was recorded with something that can't vary refuses to run where that would give another result than the module's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphnas.compiler.branch import Branch
from graphnas.errors import RecordError


def guard(gm: fx.GraphModule, branches: Mapping[str, Branch]) -> None:
    """Let a graph refuse what the recordings in it do not hold for: other image sizes, autocast.

    Args:
        gm: A supernet, or a part of one.
        branches: The branches that take part in it, by task.
    """
    for task, branch in branches.items():
        if branch.fixed_size or branch.fixed_precision:
            shapes = {name: tuple(value.shape[1:]) for name, value in branch.example.items()} if branch.fixed_size else {}
            gm.register_forward_pre_hook(_Guard(task, shapes, branch.fixed_precision), with_kwargs=True)


@dataclass(frozen=True)
class _Guard:
    """A forward pre-hook.

    Args:
        task: Whose network it is.
        shapes: Input name -> its shape without the batch, where only that one will do.
        fixed_precision: Whether autocast would go wrong.
    """

    task: str
    shapes: Mapping[str, tuple[int, ...]]
    fixed_precision: bool

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(module, fx.GraphModule)
        names = [str(node.target) for node in module.graph.find_nodes(op="placeholder")]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        for name, shape in self.shapes.items():
            if isinstance(given.get(name), Tensor) and tuple(given[name].shape[1:]) != shape:
                raise RecordError(
                    f"{name} is {list(given[name].shape[1:])}, but the network of {self.task!r} computes with a size that is a plain number"
                    f" since it was recorded at {list(shape)}",
                    fix="train and evaluate at that size, or leave int(...) around sizes out of the forward",
                )
        devices = {value.device.type for value in given.values() if isinstance(value, Tensor)}
        if self.fixed_precision and any(torch.is_autocast_enabled(device) for device in devices):
            raise RecordError(
                f"the network of {self.task!r} computes with a dtype that was read when it was recorded, which autocast changes",
                fix="train in float32 (runtime: {precision: float32}), or move the statement into a submodule that has no taps inside",
            )
