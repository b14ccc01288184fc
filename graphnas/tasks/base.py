"""What a task type is: a parameter model that also knows its labels, its loss and its metrics.

A new one is one class in one file and its line in the registry. Shapes, with N samples of H x W pixels:

| target kind | target of one sample | of a batch | unlabeled where |
|---|---|---|---|
| normal | (3, H, W) float32, unit vectors | (N, 3, H, W) | zero |
| ids | (H, W) integers | (N, H, W) int64 | the task's ``ignore_index`` |
| depth | (1, H, W) float32, metres | (N, 1, H, W) | zero |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from graphnas.errors import DataError
from graphnas.schema import NonNegativeInt, PositiveInt, Share, Spec, Text, problem

Raw = NDArray[Any]
"""A label as it is stored: (H, W) or (H, W, channels), any number type."""
TargetKind = Literal["normal", "ids", "depth"]
Direction = Literal["min", "max"]


class Labeled(Spec):
    """A subset of the training samples that carry a label: the others are taken for unlabeled. Subsets of one seed are nested."""

    telling: ClassVar[str | None] = "count"

    count: PositiveInt | None = Field(default=None, examples=[100])
    """Number of labels, or"""
    fraction: Share | None = Field(default=None, gt=0, examples=[0.1])
    """share of those that are there after validation is set apart (at least one)."""
    seed: NonNegativeInt = 0
    """Chooses the subset; it is the same one for every seed of the run."""

    @model_validator(mode="after")
    def _one(self) -> Labeled:
        if (self.count is None) == (self.fraction is None):
            raise problem("one of count and fraction says how many labels there are", "labeled: {count: 100}")
        return self


class Metrics(ABC):
    """Metrics over batches. The values do not depend on how the samples were split into batches."""

    @abstractmethod
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Take in a batch: (N, out_channels, h, w) predictions, and targets as above; both on the same device."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Name -> value, for every name in the task type's ``metric_directions``; NaN where nothing was labeled."""


class TaskType(Spec, ABC):
    """What one task predicts. Subclasses add ``type: Literal["name"] = "name"`` and their parameters."""

    key: Text = Field(examples=["normal.png"])
    """The label's name within a sample: ``normal.png`` of a tar, the folder ``seg`` of a tree, the key of a dict."""
    labeled: Labeled | None = Field(default=None, examples=[{"count": 100, "seed": 0}])
    """Use the labels of so many training samples only."""
    missing: Literal["skip", "error"] = "skip"
    """What a training, validation or test sample without this label is, in a source where others have it."""

    target_kind: ClassVar[TargetKind]
    """Tells transforms what a flip or a resize has to do."""
    metric_directions: ClassVar[Mapping[str, Direction]]
    """Metric -> whether less or more of it is better; the first is what a primary task is judged by unless the spec says otherwise."""

    @property
    @abstractmethod
    def out_channels(self) -> int:
        """Channels of a prediction."""

    @abstractmethod
    def decode(self, raw: Raw, *, file: str) -> Tensor:
        """The target of one sample.

        Args:
            raw: The label as it is stored.
            file: What it is called in messages.
        Raises:
            DataError: It is no label of this kind; names the file, the value and the fix.
        """

    @abstractmethod
    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean over what is labeled, a scalar; exactly zero, with zero gradients, where nothing is.

        Args:
            prediction: (N, out_channels, h, w), resized to the target where it differs.
            target: Of the same N samples.
        """

    @abstractmethod
    def new_metrics(self) -> Metrics:
        """Metrics that have seen nothing yet."""


def resized(prediction: Tensor, target: Tensor) -> Tensor:
    """The prediction at the target's resolution, bilinearly: (N, C, h, w) -> (N, C, H, W)."""
    size = target.shape[-2:]
    if prediction.shape[-2:] == size:
        return prediction
    return F.interpolate(prediction, size=(int(size[0]), int(size[1])), mode="bilinear", align_corners=False)


def masked_mean(values: Tensor, labeled: Tensor) -> Tensor:
    """Mean of ``values`` where ``labeled``, a mask of the same shape; zero where there is none."""
    return values.where(labeled, 0).sum() / labeled.sum().clamp(min=1)


def one_channel(raw: Raw, *, what: str, file: str) -> Raw:
    """(H, W), also from (H, W, 1).

    Raises:
        DataError: The label has several channels.
    """
    if raw.ndim == 3 and raw.shape[2] == 1:
        raw = raw[:, :, 0]
    if raw.ndim != 2:
        raise DataError(
            f"{file}: a label of {what} has one channel, got {_sizes(raw)}", fix="a grayscale image or a palette image, or another key"
        )
    return raw


def three_channels(raw: Raw, *, what: str, file: str) -> Raw:
    """(H, W, 3), without a fourth channel of opacity.

    Raises:
        DataError: The label has another number of channels.
    """
    if raw.ndim != 3 or raw.shape[2] not in (3, 4):
        raise DataError(
            f"{file}: a label of {what} has three channels, got {_sizes(raw)}", fix="an RGB image or (H, W, 3) numbers, or another key"
        )
    return raw[:, :, :3]


def float32(raw: Raw) -> NDArray[np.float32]:
    """A copy as 32-bit numbers."""
    return raw.astype(np.float32)


def _sizes(raw: Raw) -> str:
    return "x".join(str(size) for size in raw.shape) or "one number"
