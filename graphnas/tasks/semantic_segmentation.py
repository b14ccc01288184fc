"""Semantic segmentation: one class a pixel."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from pydantic import Field
from torch import Tensor

from graphnas.errors import DataError
from graphnas.schema import Int, Share
from graphnas.tasks.base import Metrics, Raw, TaskType, one_channel, resized


class SemanticSegmentation(TaskType):
    """A class for every pixel; one channel a class."""

    type: Literal["semantic_segmentation"] = "semantic_segmentation"
    classes: Annotated[Int, Ge(2)] = Field(examples=[11])
    """Number of classes; labels hold 0 to classes - 1."""
    ignore_index: Int = 255
    """The number in a label that means "not labeled here"."""
    loss: Literal["cross_entropy"] = "cross_entropy"
    """Of the classes' logits."""
    label_smoothing: Share = Field(default=0.0, lt=1)
    """Share of a label that goes to all classes alike."""

    target_kind = "ids"
    metric_directions = {"miou": "max", "pixel_accuracy": "max"}

    @property
    def out_channels(self) -> int:
        return self.classes

    def decode(self, raw: Raw, *, file: str) -> Tensor:
        """Class numbers, (H, W), uint8 where they fit, else int64."""
        raw = one_channel(raw, what="semantic segmentation", file=file)
        ids = raw.astype(np.int64)
        if np.issubdtype(raw.dtype, np.floating) and not np.array_equal(ids, raw):
            raise DataError(f"{file}: class ids are whole numbers, got {raw[ids != raw].flat[0]}", fix="another key")
        wrong = ((ids < 0) | (ids >= self.classes)) & (ids != self.ignore_index)
        if wrong.any():
            found: list[int] = np.unique(ids[wrong]).tolist()
            raise DataError(
                f"{file}: class id {found[0]} is outside 0 to {self.classes - 1} and is not ignore_index, {self.ignore_index}",
                fix=self._fix(found),
            )
        return torch.as_tensor(ids.astype(np.uint8) if ids.min(initial=0) >= 0 and ids.max(initial=0) < 256 else ids)

    def _fix(self, wrong: list[int]) -> str:
        choices = [f"ignore_index: {wrong[0]}"] if len(wrong) == 1 else []
        if self.classes <= wrong[0] and wrong[-1] < 256:
            choices.append(f"classes: {wrong[-1] + 1}")
        return ", or ".join(choices) or f"correct the label, whose wrong ids are {', '.join(map(str, wrong[:10]))}"

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        ids = target.long()
        total = F.cross_entropy(
            resized(prediction, target), ids, ignore_index=self.ignore_index, reduction="sum", label_smoothing=self.label_smoothing
        )
        return total / ids.ne(self.ignore_index).sum().clamp(min=1)

    def new_metrics(self) -> Metrics:
        return SegmentationMetrics(self.classes, self.ignore_index)


class SegmentationMetrics(Metrics):
    """Mean intersection over union of the classes that are in labels or predictions, and pixel accuracy, both in percent."""

    def __init__(self, classes: int, ignore_index: int) -> None:
        self._ignored = ignore_index
        self._confusion = _confusion_matrix(classes, ignore_index)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self._confusion.update(resized(prediction.float(), target).argmax(dim=1).cpu(), target.long().cpu())

    def compute(self) -> dict[str, float]:
        counts: Tensor = self._confusion.confmat.double()  # rows: labels; columns: predictions
        if not counts.any():
            return dict.fromkeys(SemanticSegmentation.metric_directions, math.nan)
        hits = counts.diagonal()
        union = counts.sum(0) + counts.sum(1) - hits
        seen = union > 0
        if 0 <= self._ignored < len(seen):
            seen[self._ignored] = False
        return {"miou": float(100 * (hits / union)[seen].mean()), "pixel_accuracy": float(100 * hits.sum() / counts.sum())}


def _confusion_matrix(classes: int, ignore_index: int) -> Any:
    from torchmetrics.classification import MulticlassConfusionMatrix  # slow to import, and only needed here

    return MulticlassConfusionMatrix(classes, ignore_index=ignore_index, validate_args=False)
