"""What is done to an input before a network sees it, and what its prediction means: for batches, and as plain data for an artifact."""

from __future__ import annotations

from typing import Any, cast

from graphnas.data.batches import Normalization
from graphnas.data.transforms import Transform
from graphnas.errors import DataError
from graphnas.spec import TaskPairSpec

IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's training images, as torchvision's and most of timm's weights expect."""
NONE = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def normalization(written: Any) -> Normalization:
    """What ``normalize`` of an input says: ``imagenet``, ``none``, or something with ``mean`` and ``std``, of one or three channels.

    Raises:
        DataError: Another number of channels; or ``backbone``, which a search replaces by what its networks expect.
    """
    if written == "backbone":
        raise DataError("what the backbone expects is known within a search", fix="imagenet, none, or {mean: [...], std: [...]}")
    if written == "imagenet":
        return IMAGENET
    if written == "none":
        return NONE
    mean, std = _three("mean", written.mean), _three("std", written.std)
    return Normalization(mean, std)


def describe_inference(task_pair: TaskPairSpec) -> dict[str, Any]:
    """All that a program needs to feed the primary's network and to read its prediction, as JSON data.

    Returns:
        ``{"inputs": {NAME: {"key", "mean", "std"}}, "transforms": [...], "task": {"name", "type", ...}}``: images are RGB with 1 for white;
        the transforms are those of evaluation, in order; the task is its spec, by which a registered task type can be made again.
    """
    inputs: dict[str, Any] = {}
    for name, spec in task_pair.inputs.items():
        norm = normalization(spec.normalize)
        inputs[name] = {"key": spec.key, "mean": list(norm.mean), "std": list(norm.std)}
    steps = [step for step in cast("tuple[Transform, ...]", task_pair.transforms) if not step.random]
    task = task_pair.tasks[task_pair.primary].model_dump(mode="json", by_alias=True, exclude={"labeled", "missing"})
    return {
        "inputs": inputs,
        "transforms": [{step.name: step.model_dump(mode="json", by_alias=True)} for step in steps],
        "task": {"name": task_pair.primary, **task},
    }


def _three(what: str, values: tuple[float, ...]) -> tuple[float, float, float]:
    if len(values) == 1:
        return (values[0], values[0], values[0])
    if len(values) != 3:
        raise DataError(f"{what} has {len(values)} channels, an image has 3", fix=f"{what}: [R, G, B]")
    return (values[0], values[1], values[2])
