"""Disparity, one number a pixel: how far a point moves between two views, in pixels, or as inverse depth in 1 / metres.

With focal length f (pixels) and baseline b (metres) of a stereo pair, a point at z metres has the disparity f b / z pixels, and the inverse
depth 1 / z. Both are known up to a factor of the camera; what differs is what transforms do: an image twice as wide has pixel disparities
twice as large, and one view of a stereo pair, flipped, is no view of that pair.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from graphnas.schema import PositiveNumber, Spec, error_at, refuse
from graphnas.tasks.base import Change, Metrics, Raw, Refusal, TargetKind, TaskType, masked_mean, one_channel, resized
from graphnas.tasks.encoding import Encoding, Numbers
from graphnas.tasks.error_sums import ErrorSums


class FromDepth(Spec):
    """The stored label is a depth along the optical axis, of which disparity is computed."""

    scale: PositiveNumber = 1.0
    """Metres that a stored 1 stands for: 0.001 for millimetres."""
    invalid: Numbers = ()
    """Stored numbers that mean "none", beside zero, negative ones and NaN."""
    baseline: PositiveNumber | None = Field(default=None, examples=[0.2])
    """Metres between the two views; for disparities in pixels."""
    focal_length: PositiveNumber | None = Field(default=None, examples=[110.85])
    """Of the stored image, in pixels; for disparities in pixels."""


class Disparity(TaskType):
    """Disparity; one channel. Zero, negative and NaN labels mean "none"."""

    type: Literal["disparity"] = "disparity"
    unit: Literal["pixels", "inverse_metres"] = Field(examples=["pixels"])
    """pixels: of a stereo pair; images must not be flipped or rotated. inverse_metres: 1 / depth, up to a factor."""
    encoding: Encoding | None = Field(default=None, examples=[{"offset": 1, "scale": 256, "invalid": 0}])
    """How labels are stored; left out, as they are."""
    from_depth: FromDepth | None = Field(default=None, examples=[{"scale": 0.001, "baseline": 0.2, "focal_length": 110.85}])
    """Instead of encoding: labels are depths."""
    loss: Literal["l1"] = "l1"
    """Mean |p - t|."""

    metric_directions = {"abs": "min", "rel": "min", "rmse": "min"}

    @property
    def target_kind(self) -> TargetKind:  # pyright: ignore[reportIncompatibleVariableOverride]  # the base's is of the class, this one's of the unit
        """Pixels change with the size of the image, inverse metres with its zoom alone."""
        return "pixel_disparity" if self.unit == "pixels" else "inverse_depth"

    @model_validator(mode="after")
    def _one_camera(self) -> Disparity:
        depth = self.from_depth
        if depth is None:
            return self
        if self.encoding is not None:
            refuse([error_at(("from_depth",), "labels are disparities or depths, not both", "leave out encoding, or from_depth")])
        camera = {"baseline": depth.baseline, "focal_length": depth.focal_length}
        if self.unit == "pixels":
            for name, value in camera.items():
                if value is None:
                    refuse([error_at(("from_depth",), f"disparities in pixels need the {name}", "baseline: METRES, focal_length: PIXELS")])
        elif extra := [name for name, value in camera.items() if value is not None]:
            refuse([error_at(("from_depth", extra[0]), f"1 / metres need no {extra[0]}", "unit: pixels, or leave it out", key=True)])
        return self

    @property
    def out_channels(self) -> int:
        return 1

    def decode(self, raw: Raw, *, file: str) -> Tensor:
        """Disparities in the task's unit, (1, H, W); zero where there is no label."""
        raw = one_channel(raw, what="disparity", file=file)
        depth = self.from_depth
        if depth is None:
            values = (self.encoding or Encoding()).values(raw)
        else:
            metres = Encoding(invalid=depth.invalid).values(raw) * np.float32(depth.scale)
            factor = (depth.baseline or 1.0) * (depth.focal_length or 1.0)
            values = np.divide(np.float32(factor), metres, out=np.zeros_like(metres), where=metres > 0)
        return torch.as_tensor(np.where(values > 0, values, np.float32(0))[None])

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        labeled = target > 0
        return masked_mean((resized(prediction, target).where(labeled, 0) - target).abs(), labeled)

    def answer(self, prediction: Tensor) -> Tensor:
        """Disparities in the labels' unit, not below zero."""
        return prediction.clamp(min=0)

    def new_metrics(self) -> Metrics:
        return DisparityMetrics()

    def why_not(self, change: Change) -> Refusal | None:
        if self.unit != "pixels" or change not in ("flip", "rotation"):
            return None
        what = "flip swaps the sides that the two views lie on" if change == "flip" else "rotation turns the line between the two views"
        fix = "leave it out; or, where a network sees one view, unit: inverse_metres"
        return Refusal(f"its labels are stereo disparities in pixels, and a {what}", fix)


class DisparityMetrics(Metrics):
    """Over all labeled pixels: mean |p - t| and root mean square in the labels' unit, and mean |p - t| / t."""

    def __init__(self) -> None:
        self._errors = ErrorSums()

    def update(self, prediction: Tensor, target: Tensor) -> None:
        labeled = target > 0
        self._errors.update(resized(prediction.float(), target)[labeled].cpu().double(), target[labeled].cpu().double())

    def compute(self) -> dict[str, float]:
        errors = self._errors
        if errors.pixels == 0:
            return dict.fromkeys(Disparity.metric_directions, math.nan)
        return {"abs": errors.abs, "rel": errors.rel, "rmse": errors.rmse}
