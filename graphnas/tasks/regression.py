"""Regression: any numbers, of each sample or of each pixel.

The losses are |p - t| (``l1``), (p - t)^2 (``l2``), and ``huber``: with e = |p - t|, e^2 / 2 up to delta, delta (e - delta / 2) beyond. A
number that is NaN has no label, alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic_core import InitErrorDetails
from torch import Tensor

from graphnas.errors import DataError
from graphnas.schema import PositiveInt, PositiveNumber, error_at, refuse
from graphnas.tasks.base import Change, Metrics, Raw, Refusal, TargetKind, TaskType, masked_mean, resized
from graphnas.tasks.encoding import Encoding


class Regression(TaskType):
    """Numbers for every pixel, or for every sample; one channel each."""

    type: Literal["regression"] = "regression"
    channels: PositiveInt = Field(examples=[2])
    """How many numbers."""
    per: Literal["pixel", "sample"] = "pixel"
    """A map of the image's size, (H, W) or (H, W, channels); or a vector of the whole sample, (channels,)."""
    geometry: Literal["none", "vector", "unknown"] = "unknown"
    """What a flip or a rotation of the image does to the numbers. none: nothing. vector: the first two point right and down in the image,
    as optical flow's; a flip negates the first. unknown: transforms that move pixels are refused."""
    unit: Literal["pixels", "other"] | None = Field(default=None, examples=["pixels"])
    """Of vectors: lengths in pixels change with the size of the image. To be said where transforms resize."""
    encoding: Encoding = Encoding()
    """How labels are stored."""
    loss: Literal["l1", "l2", "huber"] = "l1"
    """l1: |p - t|; l2: its square; huber: the square up to delta, a line beyond."""
    delta: PositiveNumber = 1.0
    """Where huber becomes a line."""

    metric_directions = {"mae": "min", "rmse": "min", "r2": "max"}

    @property
    def target_kind(self) -> TargetKind:  # pyright: ignore[reportIncompatibleVariableOverride]  # the base's is of the class, this one's of its fields
        """By ``per``, ``geometry`` and ``unit``."""
        if self.per == "sample":
            return "direction" if self.geometry == "vector" else "sample"
        if self.geometry != "vector":
            return "map"
        return "pixel_vector_map" if self.unit == "pixels" else "vector_map"

    @model_validator(mode="after")
    def _consistent(self) -> Regression:
        refuse(self._wrong())
        return self

    def _wrong(self) -> Iterator[InitErrorDetails]:
        if self.geometry == "vector" and self.channels < 2:
            yield error_at(("channels",), "a vector has two channels or more: right, down, ...", "channels: 2")
        if self.unit == "pixels" and self.geometry != "vector":
            yield error_at(("unit",), "lengths in pixels are of vectors", "geometry: vector")
        if self.unit == "pixels" and self.per == "sample":
            yield error_at(("unit",), "the vector of a whole sample is not scaled with the image", "unit: other, or per: pixel")

    @property
    def out_channels(self) -> int:
        return self.channels

    def decode(self, raw: Raw, *, file: str) -> Tensor:
        """(channels, H, W) or (channels,), float32; NaN where there is no label."""
        raw = np.asarray(raw)
        shape = (self.channels,) if self.per == "sample" else (*raw.shape[:2], self.channels)
        numbers = raw.reshape(shape) if self._has(raw) and raw.size == math.prod(shape) else None
        if numbers is None:
            wanted = f"({self.channels},)" if self.per == "sample" else f"(H, W, {self.channels})"
            got = f"({', '.join(map(str, raw.shape))}{',' if raw.ndim == 1 else ''})"
            raise DataError(
                f"{file}: a label is {wanted} numbers, got {got}{'' if raw.dtype.kind in 'biuf' else ' text'}", fix=self._fix(raw)
            )
        values: NDArray[np.float32] = self.encoding.values(numbers)
        return torch.as_tensor(values if self.per == "sample" else np.ascontiguousarray(values.transpose(2, 0, 1)))

    def _has(self, raw: Raw) -> bool:
        """Whether the label may be of the shape that is wanted."""
        numbers = raw.dtype.kind in "biuf"
        return numbers and (raw.ndim <= 2 if self.per == "sample" else raw.ndim in (2, 3))

    def _fix(self, raw: Raw) -> str:
        if raw.dtype.kind in "biuf":
            if raw.ndim == 3 and self.per == "pixel":
                return f"channels: {raw.shape[2]}, or another key"
            if raw.ndim <= 1:
                return f"channels: {raw.size}, or another key" if self.per == "sample" else "per: sample, or another key"
            if self.per == "sample":
                return "per: pixel, or another key"
        return "another key"

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        labeled = target.isfinite()
        p, t = _sized(prediction, target).where(labeled, 0), target.where(labeled, 0)
        match self.loss:
            case "l1":
                values = (p - t).abs()
            case "l2":
                values = (p - t).square()
            case "huber":
                values = F.huber_loss(p, t, reduction="none", delta=self.delta)
        return masked_mean(values, labeled)

    def new_metrics(self) -> Metrics:
        return RegressionMetrics(self.channels)

    def why_not(self, change: Change) -> Refusal | None:
        if self.geometry == "unknown":
            fix = "geometry: none (they stay as they are) or vector (the first two point right and down); or leave the transform out"
            return Refusal("what it does to the numbers of the labels is not known (geometry: unknown)", fix)
        if self.geometry == "vector" and self.unit is None and self.per == "pixel" and change in ("resize", "scale"):
            return Refusal("whether the vectors of its labels are lengths in pixels is not said", "unit: pixels, or unit: other")
        return None


class RegressionMetrics(Metrics):
    """Over all labeled numbers: mean |p - t|, root mean square of p - t, and R^2 = 1 - sum (p - t)^2 / sum (t - mean t)^2.

    R^2 is of each channel; their mean is reported. Channels whose labels are all equal have no R^2. Means and squares about them are merged
    as by Chan et al. (1983).
    """

    def __init__(self, channels: int) -> None:
        zeros = torch.zeros(channels, dtype=torch.float64)
        self._count, self._abs, self._squares, self._mean, self._spread = (zeros.clone() for _ in range(5))

    def update(self, prediction: Tensor, target: Tensor) -> None:
        p = _sized(prediction.float(), target).transpose(0, 1).flatten(1).cpu().double()
        t = target.transpose(0, 1).flatten(1).cpu().double()  # (channels, samples or pixels)
        labeled = t.isfinite()
        error = (p.where(labeled, 0) - t.where(labeled, 0)).abs()
        count = labeled.sum(dim=1)
        mean = t.where(labeled, 0).sum(dim=1) / count.clamp(min=1)
        spread = (t - mean[:, None]).where(labeled, 0).square().sum(dim=1)
        total = self._count + count
        apart = mean - self._mean
        share = count / total.clamp(min=1)
        self._spread += spread + apart.square() * self._count * share
        self._mean += apart * share
        self._count = total
        self._abs += error.sum(dim=1)
        self._squares += error.square().sum(dim=1)

    def compute(self) -> dict[str, float]:
        count = float(self._count.sum())
        if count == 0:
            return dict.fromkeys(Regression.metric_directions, math.nan)
        varied = self._spread > 0
        explained = 1 - self._squares[varied] / self._spread[varied]
        return {
            "mae": float(self._abs.sum()) / count,
            "rmse": math.sqrt(float(self._squares.sum()) / count),
            "r2": float(explained.mean()) if len(explained) else math.nan,
        }


def _sized(prediction: Tensor, target: Tensor) -> Tensor:
    return resized(prediction, target) if target.ndim == 4 else prediction
