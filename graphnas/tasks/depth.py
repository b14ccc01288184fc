"""Depth in metres, one number a pixel.

With p the prediction and t the label, the losses are

- ``l1``: |p - t|;
- ``berhu`` (arXiv:1606.00373): |e| up to c, (e^2 + c^2) / 2c beyond, with c a fifth of the batch's largest error;
- ``scale_invariant_log`` (arXiv:1406.2283): mean d^2 - (mean d)^2 / 2 of each image, with d = log p - log t. Below 0.1 m the logarithm
  goes on as its tangent, so that a prediction below zero has a loss and a gradient too.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from graphnas.schema import PositiveNumber
from graphnas.tasks.base import Metrics, Raw, TaskType, float32, masked_mean, one_channel, resized

FLOOR = 0.1  # metres, see above
SMALLEST = 1e-6  # metres, for ratios
DELTA = 1.25


class Depth(TaskType):
    """Depth in metres; one channel."""

    type: Literal["depth"] = "depth"
    scale: PositiveNumber = 1.0
    """Metres that a stored 1 stands for: 0.001 for millimetres. Zero, negative and NaN labels mean "none"."""
    loss: Literal["l1", "berhu", "scale_invariant_log"] = "l1"
    """l1 and berhu are of depths in metres, scale_invariant_log of their logarithms."""

    target_kind = "depth"
    metric_directions = {"rel": "min", "abs": "min", "rmse": "min", "delta1": "max", "delta2": "max", "delta3": "max"}

    @property
    def out_channels(self) -> int:
        return 1

    def decode(self, raw: Raw, *, file: str) -> Tensor:
        """Metres, (1, H, W); zero where there is no label."""
        metres = float32(one_channel(raw, what="depth", file=file)) * np.float32(self.scale)
        return torch.as_tensor(np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0))[None])

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        labeled = target > 0
        prediction = resized(prediction, target)
        if self.loss == "scale_invariant_log":
            return _scale_invariant_log(prediction, target, labeled)
        error = (prediction - target).abs().where(labeled, 0)
        if self.loss == "berhu":
            limit = (error.detach().amax() / 5 if error.numel() else error.new_zeros(())).clamp(min=SMALLEST)
            error = error.where(error <= limit, (error.square() + limit.square()) / (2 * limit))
        return masked_mean(error, labeled)

    def new_metrics(self) -> Metrics:
        return DepthMetrics()


class DepthMetrics(Metrics):
    """Over all labeled pixels: mean |p - t| and root mean square in metres, mean |p - t| / t, and percent with max(p/t, t/p) < 1.25^k."""

    def __init__(self) -> None:
        self._pixels = 0
        self._abs = self._rel = self._squares = 0.0
        self._within = [0, 0, 0]

    def update(self, prediction: Tensor, target: Tensor) -> None:
        labeled = target > 0
        p, t = resized(prediction.float(), target)[labeled].cpu().double(), target[labeled].cpu().double()
        error = (p - t).abs()
        self._pixels += len(t)
        self._abs += float(error.sum())
        self._rel += float((error / t).sum())
        self._squares += float(error.square().sum())
        ratio = torch.maximum(p / t, t / p.clamp(min=SMALLEST))
        for index in range(3):
            self._within[index] += int((ratio < DELTA ** (index + 1)).sum())

    def compute(self) -> dict[str, float]:
        if self._pixels == 0:
            return dict.fromkeys(Depth.metric_directions, math.nan)
        return {
            "rel": self._rel / self._pixels,
            "abs": self._abs / self._pixels,
            "rmse": math.sqrt(self._squares / self._pixels),
            **{f"delta{index + 1}": 100 * count / self._pixels for index, count in enumerate(self._within)},
        }


def _scale_invariant_log(prediction: Tensor, target: Tensor, labeled: Tensor) -> Tensor:
    log = prediction.clamp(min=FLOOR).log() + (prediction - FLOOR).clamp(max=0) / FLOOR
    difference = (log - target.where(labeled, 1).log()).where(labeled, 0).flatten(1)
    pixels = labeled.flatten(1).sum(dim=1)
    mean = difference.sum(dim=1) / pixels.clamp(min=1)
    square = difference.square().sum(dim=1) / pixels.clamp(min=1)
    return masked_mean(square - mean.square() / 2, pixels > 0)
