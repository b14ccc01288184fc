"""Semantic segmentation: one class a pixel.

With z the logits, p = softmax(z) and y the label as one-hot vectors (or, of one class, p = sigmoid(z) and y of 0 and 1), the losses are

- ``cross_entropy``: mean of -w_y log p_y over the labeled pixels, weighted by w: sum(-w_y log p_y) / sum(w_y), as torch's;
- ``dice`` (arXiv:1606.04797, without its squares): mean over the classes in the batch's labels of 1 - 2 sum(p y) / (sum p + sum y).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from pydantic_core import InitErrorDetails
from torch import Tensor

from graphnas.errors import DataError
from graphnas.schema import Int, NonNegativeNumber, PositiveInt, PositiveNumber, Share, Text, error_at, refuse
from graphnas.tasks.base import Direction, Metrics, Raw, TaskType, masked_mean, one_channel, resized, whole_numbers

Loss = Literal["cross_entropy", "dice"]
NO_CLASS = -100  # torch's own number for it; never a class


class SemanticSegmentation(TaskType):
    """A class for every pixel; one channel a class."""

    type: Literal["semantic_segmentation"] = "semantic_segmentation"
    classes: PositiveInt = Field(examples=[11])
    """Number of classes; labels hold 0 to classes - 1. Of one class, labels hold 1 where it is and 0 elsewhere."""
    names: tuple[Text, ...] = Field(default=(), examples=[["wall", "floor", "ceiling"]])
    """Names of the classes, in order, for their metrics; their numbers, if left out."""
    ignore_index: Int = 255
    """The number in a label that means "not labeled here"."""
    loss: Loss | dict[Loss, PositiveNumber] = Field(default="cross_entropy", examples=[{"cross_entropy": 1, "dice": 1}])
    """cross_entropy, dice, or a sum of them with factors: {cross_entropy: 1, dice: 1}."""
    class_weights: tuple[NonNegativeNumber, ...] = Field(default=(), examples=[[1, 1, 2]])
    """Of each class in the cross entropy; all 1, if left out. Of one class, the weight of its pixels, others having 1."""
    label_smoothing: Share = Field(default=0.0, lt=1)
    """Share of a label that goes to all classes alike, in the cross entropy."""

    target_kind = "ids"

    @model_validator(mode="after")
    def _one_a_class(self) -> SemanticSegmentation:
        refuse(self._wrong())
        return self

    def _wrong(self) -> Iterator[InitErrorDetails]:
        for field, values in (("names", self.names), ("class_weights", self.class_weights)):
            if values and len(values) != self.classes:
                yield error_at((field,), f"{len(values)} {field.replace('_', ' ')} of {self.classes} classes", "one a class, in order")
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            yield error_at(("names",), f"{twice!r} stands twice", "another name for each class")
        if self.loss == {}:
            yield error_at(("loss",), "an empty sum", "{cross_entropy: 1, dice: 1}")

    metric_units = {"miou": "%", "pixel_accuracy": "%", "iou": "%"}

    @property
    def metric_directions(self) -> dict[str, Direction]:  # pyright: ignore[reportIncompatibleVariableOverride]  # the base's is of the class, this one's of its classes
        """Metric -> direction: ``miou``, ``pixel_accuracy``, and ``iou/NAME`` of each class."""
        names = self.names or [str(index) for index in (range(self.classes) if self.classes > 1 else [1])]
        return {"miou": "max", "pixel_accuracy": "max", **{f"iou/{name}": "max" for name in names}}

    @property
    def out_channels(self) -> int:
        return self.classes

    @property
    def unlabeled(self) -> int:
        return self.ignore_index

    def decode(self, raw: Raw, *, file: str) -> Tensor:
        """Class numbers, (H, W), uint8 where these and ``ignore_index`` fit, else int64."""
        last = max(self.classes, 2) - 1
        ids = whole_numbers(one_channel(raw, what="semantic segmentation", file=file), what="class ids", file=file)
        wrong = ((ids < 0) | (ids > last)) & (ids != self.ignore_index)
        if wrong.any():
            found: list[int] = np.unique(ids[wrong]).tolist()
            raise DataError(
                f"{file}: class id {found[0]} is outside 0 to {last} and is not ignore_index, {self.ignore_index}", fix=self._fix(found)
            )
        return torch.as_tensor(ids.astype(np.uint8) if last < 256 and 0 <= self.ignore_index < 256 else ids)

    def _fix(self, wrong: list[int]) -> str:
        choices = [f"ignore_index: {wrong[0]}"] if len(wrong) == 1 else []
        if self.classes <= wrong[0] and wrong[-1] < 256:
            choices.append(f"classes: {wrong[-1] + 1}")
        return ", or ".join(choices) or f"correct the label, whose wrong ids are {', '.join(map(str, wrong[:10]))}"

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        labeled = target.ne(self.ignore_index)
        ids = target.where(labeled, 0).long()
        logits = resized(prediction, target).where(labeled[:, None], 0)
        terms = {self.loss: 1.0} if isinstance(self.loss, str) else self.loss
        losses = {"cross_entropy": self._cross_entropy, "dice": self._dice}
        return torch.stack([factor * losses[name](logits, ids, labeled) for name, factor in terms.items()]).sum()

    def _cross_entropy(self, logits: Tensor, ids: Tensor, labeled: Tensor) -> Tensor:
        weights = logits.new_tensor(self.class_weights) if self.class_weights else None
        if self.classes > 1:
            total = F.cross_entropy(
                logits,
                ids.where(labeled, NO_CLASS),
                weights,
                ignore_index=NO_CLASS,
                reduction="sum",
                label_smoothing=self.label_smoothing,
            )
            weight = labeled if weights is None else weights[ids].where(labeled, 0)
        else:
            weight = labeled.to(logits.dtype) if weights is None else weights.where(ids == 1, 1).where(labeled, 0)
            smooth = ids * (1 - self.label_smoothing) + self.label_smoothing / 2
            total = (F.binary_cross_entropy_with_logits(logits[:, 0], smooth.to(logits.dtype), reduction="none") * weight).sum()
        share = weight.sum()
        return total / share.where(share > 0, 1)

    def _dice(self, logits: Tensor, ids: Tensor, labeled: Tensor) -> Tensor:
        if self.classes > 1:
            shares, classes = logits.softmax(dim=1), torch.arange(self.classes, device=ids.device).view(1, -1, 1, 1)
        else:
            shares, classes = logits.sigmoid(), ids.new_ones(1, 1, 1, 1)
        true = (ids[:, None] == classes) & labeled[:, None]  # (N, classes, H, W)
        shares = shares.where(labeled[:, None], 0)
        overlap, pixels = shares.where(true, 0).sum(dim=(0, 2, 3)), true.sum(dim=(0, 2, 3))
        there = pixels > 0
        size = (shares.sum(dim=(0, 2, 3)) + pixels).where(there, 1)
        return masked_mean(1 - 2 * overlap / size, there)

    def answer(self, prediction: Tensor) -> Tensor:
        """Class numbers, (N, H, W)."""
        return likeliest(prediction) if self.classes > 1 else prediction[:, 0].gt(0).long()

    def new_metrics(self) -> Metrics:
        return SegmentationMetrics(self)


class SegmentationMetrics(Metrics):
    """Intersection over union of each class that is in labels or predictions, their mean, and pixel accuracy, all in percent.

    Of one class, the mean is that class's alone.
    """

    def __init__(self, task: SemanticSegmentation) -> None:
        self._task = task
        self._classes = max(task.classes, 2)
        self._confusion = torch.zeros(self._classes, self._classes, dtype=torch.int64)  # rows: labels; columns: predictions

    def update(self, prediction: Tensor, target: Tensor) -> None:
        found = self._task.answer(resized(prediction.float(), target)).cpu()
        target, count = target.long().cpu(), self._classes
        row = target.where(target != self._task.ignore_index, count)  # what is not labeled has a row of its own
        counts = torch.bincount((row * count + found).flatten(), minlength=(count + 1) * count)
        self._confusion += counts.view(count + 1, count)[:count]

    def compute(self) -> dict[str, float]:
        counts = self._confusion.double()
        names = list(self._task.metric_directions)
        if not counts.any():
            return dict.fromkeys(names, math.nan)
        hits = counts.diagonal()
        union = counts.sum(0) + counts.sum(1) - hits
        seen = union > 0
        if 0 <= self._task.ignore_index < len(seen):
            seen[self._task.ignore_index] = False
        iou = (100 * hits / union).where(seen, math.nan)
        iou = iou[1:] if self._task.classes == 1 else iou
        values = [iou.nanmean(), 100 * hits.sum() / counts.sum(), *iou]
        return {name: float(value) for name, value in zip(names, values, strict=True)}


def likeliest(logits: Tensor) -> Tensor:
    """The class of the largest logit, of several such the first: (N, classes, H, W) -> (N, H, W).

    The same as ``argmax``, which takes four times as long over a dimension that is not the last in memory.
    """
    return logits.max(dim=1).indices
