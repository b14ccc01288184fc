"""Depth in metres, one number a pixel.

With p the prediction and t the label, the losses are

- ``l1``: |p - t|;
- ``berhu`` (arXiv:1606.00373): |e| up to c, (e^2 + c^2) / 2c beyond, with c a fifth of the batch's largest error;
- ``scale_invariant_log`` (arXiv:1406.2283): mean d^2 - (mean d)^2 / 2 of each image, with d = log p - log t. Below 0.1 m the logarithm
  goes on as its tangent, so that a prediction below zero has a loss and a gradient too.

With ``inverse: true`` p and t are inverse depths, 1 / metres, in the losses; the tangent begins at 1 / 200 m. Metrics are of metres in any
case; an inverse depth below 1 / 1000 m counts as 1000 m.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from graphnas.schema import Flag, PositiveNumber
from graphnas.tasks.base import Metrics, Raw, TaskType, float32, masked_mean, one_channel, resized
from graphnas.tasks.encoding import Numbers, stands_for_something
from graphnas.tasks.error_sums import ErrorSums

FLOOR = 0.1  # metres, see above
INVERSE_FLOOR = 1 / 200  # 1 / metres
FARTHEST = 1000.0  # metres
SMALLEST = 1e-6  # metres, for ratios
DELTA = 1.25


class Depth(TaskType):
    """Depth in metres; one channel."""

    type: Literal["depth"] = "depth"
    scale: PositiveNumber = 1.0
    """Metres that a stored 1 stands for: 0.001 for millimetres. Zero, negative and NaN labels mean "none"."""
    invalid: Numbers = ()
    """Other stored numbers that mean "none": one, or a list of them; 65535 in Taskonomy."""
    inverse: Flag = False
    """Whether the network predicts inverse depth, 1 / metres."""
    loss: Literal["l1", "berhu", "scale_invariant_log"] = "l1"
    """l1 and berhu are of depths in metres (or of inverse ones, if those are predicted), scale_invariant_log of their logarithms."""

    target_kind = "depth"
    metric_directions = {
        "rel": "min",
        "abs": "min",
        "rmse": "min",
        "log_rmse": "min",
        "delta1": "max",
        "delta2": "max",
        "delta3": "max",
    }
    metric_units = {"abs": "m", "rmse": "m", "delta1": "%", "delta2": "%", "delta3": "%"}

    @property
    def out_channels(self) -> int:
        return 1

    def decode(self, raw: Raw, *, file: str) -> Tensor:
        """Metres, (1, H, W); zero where there is no label."""
        raw = one_channel(raw, what="depth", file=file)
        metres = float32(raw) * np.float32(self.scale)
        labeled = np.isfinite(metres) & (metres > 0) & stands_for_something(raw, self.invalid)
        return torch.as_tensor(np.where(labeled, metres, np.float32(0))[None])

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        labeled = target > 0
        prediction = resized(prediction, target).where(labeled, 1)
        target = target.where(labeled, 1)
        if self.inverse:
            target = 1 / target
        if self.loss == "scale_invariant_log":
            return _scale_invariant_log(prediction, target, labeled, INVERSE_FLOOR if self.inverse else FLOOR)
        error = (prediction - target).abs()
        if self.loss == "berhu":
            limit = (error.detach().amax() / 5 if error.numel() else error.new_zeros(())).clamp(min=SMALLEST)
            error = error.where(error <= limit, (error.square() + limit.square()) / (2 * limit))
        return masked_mean(error, labeled)

    def answer(self, prediction: Tensor) -> Tensor:
        """Metres, above zero."""
        positive = prediction.clamp(min=SMALLEST)
        return 1 / positive if self.inverse else positive

    def new_metrics(self) -> Metrics:
        return DepthMetrics(inverse=self.inverse)


class DepthMetrics(Metrics):
    """Over all labeled pixels.

    ``abs`` and ``rmse``, the mean of |p - t| and the root mean square, in metres; ``rel``, the mean of |p - t| / t; ``log_rmse``, of
    log p - log t; ``delta1`` to ``delta3``, percent with max(p/t, t/p) < 1.25^k. Ratios and logarithms take p for a millionth of a metre
    where it is less.
    """

    def __init__(self, *, inverse: bool = False) -> None:
        self._inverse = inverse
        self._errors = ErrorSums()
        self._log_squares = 0.0
        self._within = [0, 0, 0]

    def update(self, prediction: Tensor, target: Tensor) -> None:
        labeled = target > 0
        p, t = resized(prediction.float(), target)[labeled].cpu().double(), target[labeled].cpu().double()
        if self._inverse:
            p = 1 / p.clamp(min=1 / FARTHEST)
        self._errors.update(p, t)
        positive = p.clamp(min=SMALLEST)
        self._log_squares += float((positive.log() - t.log()).square().sum())
        ratio = torch.maximum(p / t, t / positive)
        for index in range(3):
            self._within[index] += int((ratio < DELTA ** (index + 1)).sum())

    def compute(self) -> dict[str, float]:
        errors = self._errors
        if errors.pixels == 0:
            return dict.fromkeys(Depth.metric_directions, math.nan)
        return {
            "rel": errors.rel,
            "abs": errors.abs,
            "rmse": errors.rmse,
            "log_rmse": math.sqrt(self._log_squares / errors.pixels),
            **{f"delta{index + 1}": 100 * count / errors.pixels for index, count in enumerate(self._within)},
        }


def _scale_invariant_log(prediction: Tensor, target: Tensor, labeled: Tensor, floor: float) -> Tensor:
    log = prediction.clamp(min=floor).log() + (prediction - floor).clamp(max=0) / floor
    difference = (log - target.log()).where(labeled, 0).flatten(1)
    pixels = labeled.flatten(1).sum(dim=1)
    mean = difference.sum(dim=1) / pixels.clamp(min=1)
    square = difference.square().sum(dim=1) / pixels.clamp(min=1)
    return masked_mean(square - mean.square() / 2, pixels > 0)
