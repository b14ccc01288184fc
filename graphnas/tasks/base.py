"""What a task type is: a parameter model that also knows its labels, its loss and its metrics.

A new one is one class in one file and its line in the registry. Shapes, with N samples of H x W pixels:

| target kind | target of one sample | of a batch | unlabeled where |
|---|---|---|---|
| ids | (H, W) integers | (N, H, W) int64 | the task's ``unlabeled`` |
| boundary | (H, W) uint8, 0 and 1 | (N, H, W) | the task's ``unlabeled`` |
| normal | (3, H, W) float32, unit vectors: right, up, to the viewer | (N, 3, H, W) | zero |
| depth | (1, H, W) float32, metres | (N, 1, H, W) | zero |
| inverse_depth | (1, H, W) float32, 1 / metres | (N, 1, H, W) | zero |
| pixel_disparity | (1, H, W) float32, widths of a pixel | (N, 1, H, W) | zero |
| map | (C, H, W) float32 | (N, C, H, W) | NaN |
| vector_map | (C, H, W) float32, right and down first | (N, C, H, W) | NaN |
| pixel_vector_map | the same, in widths and heights of a pixel | (N, C, H, W) | NaN |
| sample | any shape without pixels | (N, ...) | as the task says |
| direction | (C,) float32, right and down first | (N, C) | NaN |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from graphnas.errors import DataError
from graphnas.graph.types import Image, Tokens, ValueType, Vector
from graphnas.schema import NonNegativeInt, PositiveInt, Share, Spec, Text, problem

Raw = NDArray[Any]
"""A label as it is stored: (H, W) or (H, W, channels), any number type; or without pixels: one number or text (no axes), or a list."""
TargetKind = Literal[
    "ids", "boundary", "normal", "depth", "inverse_depth", "pixel_disparity", "map", "vector_map", "pixel_vector_map", "sample", "direction"
]
PER_SAMPLE: frozenset[TargetKind] = frozenset({"sample", "direction"})
"""The kinds without pixels."""
Change = Literal["resize", "scale", "crop", "flip", "rotation"]
"""What a transform does to where pixels are."""
Direction = Literal["min", "max"]


class Refusal(NamedTuple):
    """Why a label can't be changed, and what to write instead."""

    reason: str
    fix: str


class Labeled(Spec):
    """A subset of the training samples that carry a label: the others are taken for unlabeled. Subsets of one seed are nested."""

    telling: ClassVar[str | None] = "count"

    count: PositiveInt | None = Field(default=None, examples=[100])
    """Number of labels, or"""
    fraction: Share | None = Field(default=None, gt=0, examples=[0.1])
    """share of those that are there after validation is set apart (at least one)."""
    seed: NonNegativeInt | Literal["run"] = Field(default=0, examples=["run"])
    """Chooses the subset, the same one for every seed of the run; run: the run's own seed chooses it."""

    @model_validator(mode="after")
    def _one(self) -> Labeled:
        if (self.count is None) == (self.fraction is None):
            raise problem("one of count and fraction says how many labels there are", "labeled: {count: 100}")
        return self

    def seed_of(self, run: int) -> int:
        """What chooses the subset in a run of this seed."""
        return run if self.seed == "run" else self.seed


class Metrics(ABC):
    """Metrics over batches. The values do not depend on how the samples were split into batches."""

    @abstractmethod
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Take in a batch: (N, out_channels, h, w) predictions, and targets as above; both on the same device."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Name -> value, for every name in the task type's ``metric_directions``, and others; NaN where nothing was labeled.

        Names with a slash (``iou/wall``) are details: they are written to files, but left out of a run's lines.
        """

    def found(self) -> Mapping[str, float]:
        """What was chosen on the samples seen, such as a threshold, to be used on others; nothing for most."""
        return {}

    def use(self, found: Mapping[str, float]) -> None:  # noqa: B027  # most choose nothing
        """Measure with what was found on other samples, instead of choosing on these."""


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
    metric_units: ClassVar[Mapping[str, str]] = {}
    """Metric (its part before a slash) -> its unit: %, °; nothing for a bare number."""
    chooses: ClassVar[bool] = False
    """Whether its metrics choose something on validation (``Metrics.found``) that the test is measured with."""

    @property
    def unlabeled(self) -> int:
        """What stands in a target of whole numbers where there is no label."""
        return 255

    @property
    def per_sample(self) -> bool:
        """Whether a sample has one label, and not one a pixel."""
        return self.target_kind in PER_SAMPLE

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

    def answer(self, prediction: Tensor) -> Tensor:
        """What a prediction says, for a person or a program: in the form of a target where that can be; the prediction itself, if not said.

        Args:
            prediction: (N, out_channels, h, w), or (N, out_channels) of a task with one label a sample.
        """
        return prediction

    @abstractmethod
    def new_metrics(self) -> Metrics:
        """Metrics that have seen nothing yet."""

    def why_not(self, change: Change) -> Refusal | None:
        """Why the labels would be wrong after such a change of the images; ``None``: transforms know what to do to them."""
        return None

    def misfit(self, prediction: ValueType | None) -> str | None:
        """What is wrong with the type of a network's prediction; ``None`` if nothing is, or if the type says too little."""
        right = f"vector[{self.out_channels}]" if self.per_sample else f"image[{self.out_channels}, H, W]"
        match prediction:
            case Image(channels=channels) if self.per_sample or channels != self.out_channels:
                return f"it predicts {prediction}, and the task is of {right}"
            case Vector(width=width) if not self.per_sample or width != self.out_channels:
                return f"it predicts {prediction}, and the task is of {right}"
            case Tokens():
                return f"it predicts {prediction}, and the task is of {right}"
            case _:
                return None


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


def whole_numbers(raw: Raw, *, what: str, file: str) -> NDArray[np.int64]:
    """The same as int64.

    Raises:
        DataError: One is no whole number.
    """
    with np.errstate(invalid="ignore"):  # NaN and infinities are found below
        whole = raw.astype(np.int64)
    if np.issubdtype(raw.dtype, np.floating) and not np.array_equal(whole, raw):
        raise DataError(f"{file}: {what} are whole numbers, got {raw[whole != raw].flat[0]}", fix="another key")
    return whole


def float32(raw: Raw) -> NDArray[np.float32]:
    """A copy as 32-bit numbers."""
    return raw.astype(np.float32)


def _sizes(raw: Raw) -> str:
    if raw.dtype.kind == "U":
        return "text"
    return "x".join(str(size) for size in raw.shape) or "one number"
