"""Networks are built for the size of evaluation; whether they also take the size that training crops to is found out before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphnas.compiler import Supernet
from graphnas.compiler.infer import infer
from graphnas.data.transforms import RandomCrop
from graphnas.errors import Problem, SpecError
from graphnas.graph.types import Image, ValueType
from graphnas.spec import SearchSpec, TaskPairSpec


def refused_sizes(spec: SearchSpec, net: Supernet) -> list[Problem]:
    """What the type rules of the networks' specs say about images of the size that a crop makes in training."""
    size = _cropped(spec.task_pair)
    problems: dict[Problem, None] = {}
    for branch in net.recorded.values():
        types = {node.name: node.type for node in branch.graph.inputs if node.type is not None}
        if size is None or branch.spec is None or _of(types, size) == types:
            continue
        try:
            infer(branch.spec, _of(types, size))
        except SpecError as error:
            problems |= {replace(p, message=f"{p.message} (in training, of random_crop: {list(size)})"): None for p in error.problems}
    return list(problems)


def _cropped(pair: TaskPairSpec) -> tuple[int, int] | None:
    """The size that a crop leaves, if nothing after it changes sizes."""
    last = next((transform for transform in reversed(pair.transforms) if transform.sizes != "kept"), None)
    return last.size if isinstance(last, RandomCrop) else None


def _of(types: Mapping[str, ValueType], size: tuple[int, int]) -> dict[str, ValueType]:
    height, width = size
    return {name: replace(value, height=height, width=width) if isinstance(value, Image) else value for name, value in types.items()}
