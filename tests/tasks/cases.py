"""Every task type with its choices, and labels for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from graphnas.registry import task_types
from graphnas.schema import Named, Spec
from graphnas.tasks import TaskType

HEIGHT, WIDTH = 6, 7


class Holder(Spec):
    task: Annotated[Spec, Named(task_types, "type")]


def build(name: str, **fields: Any) -> TaskType:
    made = Holder.model_validate({"task": {"type": name, "key": "label", **fields}}).task
    assert isinstance(made, TaskType)
    return made


Random = np.random.Generator


def depths(task: TaskType, random: Random, size: tuple[int, ...]) -> np.ndarray:
    return (1 + random.random(size)).astype(np.float32)


def vectors(task: TaskType, random: Random, size: tuple[int, ...]) -> np.ndarray:
    return random.standard_normal((*size, 3)).astype(np.float32)


def numbers(task: TaskType, random: Random, size: tuple[int, ...]) -> np.ndarray:
    return random.standard_normal((*size, task.out_channels)).astype(np.float32)


def ids(task: TaskType, random: Random, size: tuple[int, ...]) -> np.ndarray:
    return random.integers(0, max(task.out_channels, 2), size)


def marks(task: TaskType, random: Random, size: tuple[int, ...]) -> np.ndarray:
    return random.integers(0, 2, (*size, task.out_channels)).astype(np.float32)


def shares(task: TaskType, random: Random, size: tuple[int, ...]) -> np.ndarray:
    return random.dirichlet(np.ones(task.out_channels), size)


@dataclass(frozen=True)
class Case:
    """A task type with some of its choices.

    Args:
        type: Its name.
        fields: Its choices.
        raw: Random labels, (N, ...) as they are stored.
        markers: Numbers that mean "not labeled".
    """

    type: str
    fields: dict[str, Any]
    raw: Callable[[TaskType, Random, tuple[int, ...]], np.ndarray]
    markers: tuple[float, ...]
    task: TaskType = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", build(self.type, **self.fields))

    @property
    def id(self) -> str:
        return "-".join([self.type, *(f"{value}" for value in self.fields.values())]).replace(" ", "")

    def labeled(self, count: int = 4, share: float = 0.7) -> np.ndarray:
        """Which of N samples, or of their pixels, have a label: at random, a share of them, the first of all among them."""
        shape = (count,) if self.task.per_sample else (count, HEIGHT, WIDTH)
        chosen = np.random.default_rng(1).random(shape) < share
        chosen.flat[0] = share > 0
        return chosen

    def targets(self, labeled: np.ndarray, marker: float | None = None) -> Tensor:
        """Targets of N samples, with a number where there is no label (the first marker, if left out)."""
        raw = self.raw(self.task, np.random.default_rng(0), labeled.shape)
        mask = labeled[..., None] if raw.ndim > labeled.ndim else labeled
        raw = np.where(mask, raw, np.asarray(self.markers[0] if marker is None else marker, raw.dtype))
        return torch.stack([self.task.decode(sample, file="f") for sample in raw])

    def prediction(self, count: int = 4) -> Tensor:
        size = () if self.task.per_sample else (HEIGHT, WIDTH)
        return 1 + torch.rand(count, self.task.out_channels, *size, generator=torch.Generator().manual_seed(0))


NAN, INF = float("nan"), float("inf")
SOFT = {"target": "probabilities"}

CASES = [
    *(Case("surface_normal", {"loss": loss}, vectors, (0, NAN, INF)) for loss in ("cosine", "angular", "l1", "l2")),
    Case("surface_normal", {"frame": {"y": "down", "z": "scene"}}, vectors, (0, NAN)),
    *(
        Case("semantic_segmentation", {"classes": classes, **more}, ids, (255,))
        for classes in (5, 1)
        for more in (
            {},
            {"label_smoothing": 0.1},
            {"loss": "dice"},
            {"loss": {"cross_entropy": 1, "dice": 0.5}},
            {"class_weights": [0.5, 2, 1, 0, 1][:classes]},
        )
    ),
    *(
        Case("depth", {"loss": loss, "inverse": inverse}, depths, (0, NAN, -1, INF))
        for loss in ("l1", "berhu", "scale_invariant_log")
        for inverse in (False, True)
    ),
    *(Case("disparity", {"unit": unit}, depths, (0, NAN, -1, INF)) for unit in ("pixels", "inverse_metres")),
    Case("disparity", {"unit": "pixels", "from_depth": {"baseline": 0.5, "focal_length": 4}}, depths, (0, NAN, -1)),
    Case("classification", {"classes": 7}, ids, (-1,)),
    Case("classification", {"classes": 3, "label_smoothing": 0.1}, ids, (-1,)),
    Case("classification", {"classes": 3, **SOFT}, shares, (NAN,)),
    Case("classification", {"classes": 3, "target": "logits", "temperature": 2}, numbers, (NAN,)),
    Case("classification", {"classes": 3, "multi_label": True}, marks, (-1, NAN)),
    *(Case("boundary", {"ignore_index": 255, "positive_weight": weight}, ids, (255,)) for weight in ("balanced", 3)),
    *(Case("regression", {"channels": 2, "loss": loss}, numbers, (NAN, INF, -INF)) for loss in ("l1", "l2", "huber")),
    Case("regression", {"channels": 3, "per": "sample"}, numbers, (NAN, INF)),
]
