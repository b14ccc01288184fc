"""Boundaries (of objects, of surfaces): one logit a pixel.

With b the binary cross entropy of a pixel, the loss is the mean of b over the labeled pixels with those of boundaries counted
``positive_weight`` times; ``balanced``: half the mean over boundaries plus half the mean over the others (arXiv:1504.06375, of a batch).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from graphnas.errors import DataError
from graphnas.schema import Int, PositiveNumber, error_at, refuse
from graphnas.tasks.base import Metrics, Raw, TaskType, masked_mean, one_channel, resized, whole_numbers

IGNORED = 255  # in targets
BINS = 1000  # thresholds between 0 and 1


class Boundary(TaskType):
    """Boundary or not, for every pixel; one channel."""

    type: Literal["boundary"] = "boundary"
    positive: Int = Field(default=1, examples=[255])
    """The number in a label that means boundary; 0 means none."""
    ignore_index: Int | None = Field(default=None, examples=[255])
    """The number in a label that means "not labeled here", if one does."""
    loss: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    """Of the logit."""
    positive_weight: PositiveNumber | Literal["balanced"] = "balanced"
    """How many times a pixel of a boundary counts; balanced: boundaries and the rest of a batch count alike."""

    target_kind = "boundary"
    metric_directions = {"f1": "max", "average_precision": "max", "best_f1": "max"}
    metric_units = dict.fromkeys(metric_directions, "%")
    chooses = True

    @model_validator(mode="after")
    def _distinct(self) -> Boundary:
        if self.positive == 0:
            refuse([error_at(("positive",), "0 means no boundary", "positive: 1")])
        if self.ignore_index in (0, self.positive):
            message = f"{self.ignore_index} means {'no boundary' if self.ignore_index == 0 else 'boundary'}"
            refuse([error_at(("ignore_index",), message, "ignore_index: null, or another number")])
        return self

    @property
    def out_channels(self) -> int:
        return 1

    @property
    def unlabeled(self) -> int:
        return IGNORED

    def decode(self, raw: Raw, *, file: str) -> Tensor:
        """0, 1, or 255 where there is no label, (H, W), uint8."""
        numbers = whole_numbers(one_channel(raw, what="boundaries", file=file), what="numbers of boundaries", file=file)
        target = np.full(numbers.shape, IGNORED, np.uint8)
        target[numbers == 0] = 0
        target[numbers == self.positive] = 1
        wrong = (target == IGNORED) & (numbers != self.ignore_index)
        if wrong.any():
            found = int(numbers[wrong].flat[0])
            raise DataError(
                f"{file}: {found} is neither 0 nor positive, {self.positive}", fix=f"positive: {found}, or ignore_index: {found}"
            )
        return torch.as_tensor(target)

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        labeled, positive = target.ne(IGNORED), target.eq(1)
        logits = resized(prediction, target)[:, 0].where(labeled, 0)
        values = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
        if self.positive_weight == "balanced":
            return (masked_mean(values, positive) + masked_mean(values, labeled & ~positive)) / 2
        return masked_mean(values.where(~positive, self.positive_weight * values), labeled)

    def answer(self, prediction: Tensor) -> Tensor:
        """1 where a boundary is likelier than none, (N, H, W)."""
        return prediction[:, 0].gt(0).long()

    def new_metrics(self) -> Metrics:
        return BoundaryMetrics()


class BoundaryMetrics(Metrics):
    """Over all labeled pixels, thresholds being multiples of a thousandth.

    ``f1`` is of the threshold that was chosen on other samples (for a test on validation), and if none was, the best of these samples,
    which ``best_f1`` always is; ``threshold`` is the one of ``f1``. ``average_precision`` is the area under the steps of precision over
    recall. All but the threshold in percent; NaN where no boundary is labeled.
    """

    def __init__(self) -> None:
        self._chosen: int | None = None
        self._counts = torch.zeros(2, BINS + 1, dtype=torch.int64)  # others, boundaries; by their probability, rounded down

    def update(self, prediction: Tensor, target: Tensor) -> None:
        logits = resized(prediction.float(), target)[:, 0]
        for row in range(2):
            shares = logits[target == row].cpu().double().sigmoid()
            self._counts[row] += torch.bincount((shares * BINS).long(), minlength=BINS + 1)

    def compute(self) -> dict[str, float]:
        boundaries = int(self._counts[1].sum())
        if boundaries == 0:
            return dict.fromkeys([*Boundary.metric_directions, "threshold"], math.nan)
        wrong, right = self._counts.flip(1).cumsum(1).flip(1).double()  # found at each threshold
        precision = right / (right + wrong).clamp(min=1)
        recall = right / boundaries
        f1 = 100 * 2 * right / (right + wrong + boundaries)
        best = int(f1.argmax())
        at = best if self._chosen is None else self._chosen
        steps = recall - torch.cat([recall[1:], recall.new_zeros(1)])
        return {
            "f1": float(f1[at]),
            "average_precision": float(100 * (steps * precision).sum()),
            "best_f1": float(f1[best]),
            "threshold": at / BINS,
        }

    def found(self) -> Mapping[str, float]:
        values = self.compute()
        return {} if math.isnan(values["threshold"]) else {"threshold": values["threshold"]}

    def use(self, found: Mapping[str, float]) -> None:
        if "threshold" in found:
            self._chosen = round(found["threshold"] * BINS)
