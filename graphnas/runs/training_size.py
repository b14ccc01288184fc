"""Networks are built for the size of evaluation; whether they also take the size that training crops to is found out before it starts.

So is whether they take batches of one sample, where a training asks for these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphnas.compiler import Supernet
from graphnas.compiler.infer import infer
from graphnas.compiler.verify import failure
from graphnas.data.transforms import RandomCrop
from graphnas.errors import Problem, SpecError
from graphnas.graph.types import Image, ValueType
from graphnas.search.faults import ONE_VALUE
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


def refused_batches(spec: SearchSpec, net: Supernet) -> list[Problem]:
    """What the batch norms of networks say that would be trained with one sample a batch."""
    training = spec.training
    if training.batch_size > 1:
        return []
    together = training.auxiliary_batch_size == 0 or len(net.tasks) == 1
    alone = net.tasks if spec.start_from == "single-task" else [net.primary] if spec.baseline == "single-task" else []
    problems: list[Problem] = []
    for task in net.tasks if together else alone:
        branch = net.recorded[task]
        error = failure(branch.module, {name: value[:1] for name, value in branch.example.items()}, training=True)
        if isinstance(error, ValueError) and ONE_VALUE in str(error):
            message = f"a batch of one sample has one value a channel for a batch norm in the network of {task!r}"
            problems.append(spec.problem(message, "training", "batch_size", fix="batch_size: 2 or more"))
    return problems


def _cropped(pair: TaskPairSpec) -> tuple[int, int] | None:
    """The size that a crop leaves, if nothing after it changes sizes."""
    last = next((transform for transform in reversed(pair.transforms) if transform.sizes != "kept"), None)
    return last.size if isinstance(last, RandomCrop) else None


def _of(types: Mapping[str, ValueType], size: tuple[int, int]) -> dict[str, ValueType]:
    height, width = size
    return {name: replace(value, height=height, width=width) if isinstance(value, Image) else value for name, value in types.items()}
