"""Classification of whole images: objects, scenes; one class a sample, or several.

With z the logits, the losses are

- ``cross_entropy``: -log softmax(z)_y of the class y, or -q . log softmax(z) of a distribution q (soft targets);
- ``binary_cross_entropy``: mean over the classes of that of sigmoid(z) and 0 or 1, where it is known which.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic_core import InitErrorDetails
from torch import Tensor

from graphnas.errors import DataError, suggest
from graphnas.schema import Flag, Int, NonNegativeInt, PositiveNumber, Share, Text, error_at, refuse
from graphnas.tasks.base import Direction, Metrics, Raw, TaskType, float32, masked_mean

Loss = Literal["cross_entropy", "binary_cross_entropy"]
TOP = 5
ROUNDING = 1e-3  # how far from 1 the sum of stored probabilities may be


class Classification(TaskType):
    """A class for every sample, or with ``multi_label`` any number of them; one logit a class."""

    type: Literal["classification"] = "classification"
    classes: Annotated[Int, Ge(1)] = Field(examples=[63])
    """Number of classes."""
    names: tuple[Text, ...] = Field(default=(), examples=[["kitchen", "bedroom"]])
    """Names of the classes, in order: labels may be such names instead of numbers."""
    target: Literal["class", "probabilities", "logits"] = "class"
    """What a label holds. class: a number from 0 to classes - 1, or a name. probabilities: one a class, adding up to 1. logits: their
    logarithms up to a constant, as Taskonomy's. With multi_label, class: a list of names, or a 0 or 1 a class."""
    temperature: PositiveNumber = 1.0
    """What logits are divided by before their softmax; more makes the target softer."""
    subset: tuple[NonNegativeInt, ...] = Field(default=(), examples=[[2, 3, 5]])
    """Which of a distribution's entries are the classes, in order, where it has more; they are made to add up to 1."""
    multi_label: Flag = False
    """Whether a sample may have several classes, or none."""
    unknown: Literal["error", "skip"] = "error"
    """What a name in a label is that is not among ``names``: an error, or left out of the list of names."""
    ignore_index: Int = -1
    """The number in a label that means "not labeled"; with multi_label, "not known of this class"."""
    loss: Loss = "cross_entropy"
    """cross_entropy; with multi_label binary_cross_entropy, and there the default."""
    label_smoothing: Share = Field(default=0.0, lt=1)
    """Share of a label that goes to all classes alike, in the cross entropy."""

    target_kind = "sample"

    @model_validator(mode="before")
    @classmethod
    def _loss_of_several(cls, value: Any) -> Any:
        fields = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else None
        if fields is not None and fields.get("multi_label") is True and "loss" not in fields:
            return {**fields, "loss": "binary_cross_entropy"}
        return cast("object", value)

    @model_validator(mode="after")
    def _consistent(self) -> Classification:
        refuse(self._wrong())
        return self

    def _wrong(self) -> Iterator[InitErrorDetails]:
        if self.names and len(self.names) != self.classes:
            yield error_at(("names",), f"{len(self.names)} names of {self.classes} classes", "one a class, in order")
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            yield error_at(("names",), f"{twice!r} stands twice", "another name for each class")
        wanted = "binary_cross_entropy" if self.multi_label else "cross_entropy"
        if self.loss != wanted:
            yield error_at(("loss",), f"{self.loss} with multi_label: {str(self.multi_label).lower()}", f"loss: {wanted}")
        if self.multi_label and self.target != "class":
            yield error_at(("target",), f"{self.target} are of one class, and there may be several", "target: class")
        if not self.multi_label and self.classes == 1:
            yield error_at(("classes",), "one class is no choice", "classes: 2, or multi_label: true")
        if self.subset and self.target == "class":
            yield error_at(
                ("subset",), "a label that is a class has no entries to choose from", "target: probabilities, or target: logits", key=True
            )
        if self.subset and len(self.subset) != self.classes:
            yield error_at(("subset",), f"{len(self.subset)} entries of {self.classes} classes", "one a class, in order")
        if self.temperature != 1 and self.target != "logits":
            yield error_at(("temperature",), f"a temperature is of logits, and the target is {self.target}", "target: logits", key=True)

    metric_units = dict.fromkeys(("top1", "top5", "class_accuracy", "map", "ap"), "%")

    @property
    def metric_directions(self) -> dict[str, Direction]:  # pyright: ignore[reportIncompatibleVariableOverride]  # the base's is of the class, this one's of its classes
        """Metric -> direction."""
        if self.multi_label:
            return {"map": "max", **{f"ap/{name}": "max" for name in self.class_names}}
        top: dict[str, Direction] = {"top5": "max"} if self.classes > TOP else {}
        return {"top1": "max", **top, "class_accuracy": "max"}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Their names, or their numbers."""
        return self.names or tuple(map(str, range(self.classes)))

    @property
    def out_channels(self) -> int:
        return self.classes

    def decode(self, raw: Raw, *, file: str) -> Tensor:
        """A class, int64, ``ignore_index`` for none; a distribution, (classes,), NaN for none; several, (classes,), each 0, 1, or NaN."""
        raw = np.asarray(raw)
        if self.multi_label:
            return torch.as_tensor(self._several(raw, file))
        if self.target == "class":
            return torch.tensor(self._class(raw, file))
        return torch.as_tensor(self._distribution(raw, file))

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        if self.multi_label:
            known = target.isfinite()
            logits, true = prediction.where(known, 0), target.where(known, 0)
            return masked_mean(F.binary_cross_entropy_with_logits(logits, true, reduction="none"), known)
        if self.target == "class":
            labeled = target.ne(self.ignore_index)
            target = target.where(labeled, 0)
        else:
            labeled = target.isfinite().all(dim=1)
            target = target.where(labeled[:, None], 0)
        logits = prediction.where(labeled[:, None], 0)
        return masked_mean(F.cross_entropy(logits, target, reduction="none", label_smoothing=self.label_smoothing), labeled)

    def answer(self, prediction: Tensor) -> Tensor:
        """Probabilities that add up to 1, (N, classes); with several labels a sample 1 for each that is likelier than not."""
        return prediction.gt(0).to(prediction.dtype) if self.multi_label else prediction.softmax(dim=1)

    def new_metrics(self) -> Metrics:
        return MultiLabelMetrics(self) if self.multi_label else ClassMetrics(self)

    def _class(self, raw: Raw, file: str) -> int:
        if raw.size != 1:
            fix = "target: probabilities, or target: logits" if raw.size > 1 and raw.dtype.kind not in "UO" else "multi_label: true"
            raise DataError(f"{file}: a label is one class, got {raw.size} values", fix=fix)
        [value] = raw.ravel().tolist()
        if isinstance(value, str):
            number = self._number(value, file)
            return self.ignore_index if number is None else number
        number = int(value) if math.isfinite(value) else self.ignore_index
        if math.isfinite(value) and number != value:
            raise DataError(f"{file}: a class is a whole number, got {value}", fix="another key, or target: probabilities")
        if number != self.ignore_index and not 0 <= number < self.classes:
            fix = f"ignore_index: {number}" + (f", or classes: {number + 1}" if number >= self.classes else "")
            raise DataError(f"{file}: class {number} is outside 0 to {self.classes - 1}", fix=fix)
        return number

    def _number(self, name: str, file: str) -> int | None:
        """A class by its name; ``None`` where unknown ones are left out."""
        if name in self.names:
            return self.names.index(name)
        if not self.names:
            raise DataError(f"{file}: the class is named, {name!r}, and the task names none", fix=f"names: [{name}, ...]")
        if self.unknown == "skip":
            return None
        raise DataError(f"{file}: unknown class {name!r}", fix=f"{suggest(name, self.names)}; or add it to names, or unknown: skip")

    def _several(self, raw: Raw, file: str) -> NDArray[np.float32]:
        if raw.size == 0 or raw.dtype.kind in "UO":
            marks = np.zeros(self.classes, np.float32)
            for name in raw.ravel().tolist():
                number = self._number(str(name), file)
                if number is not None:
                    marks[number] = 1
            return marks
        raw = raw.ravel()
        if len(raw) != self.classes:
            raise DataError(
                f"{file}: {len(raw)} numbers of {self.classes} classes", fix=f"a 0 or 1 a class, or names; or classes: {len(raw)}"
            )
        marks = float32(raw)
        marks[marks == self.ignore_index] = np.nan
        wrong = marks[np.isfinite(marks) & (marks != 0) & (marks != 1)]
        if len(wrong):
            raise DataError(
                f"{file}: {wrong[0]:g} is neither 0 nor 1", fix=f"ignore_index: {wrong[0]:g} if it means unknown; or another key"
            )
        return np.where(np.isfinite(marks), marks, np.float32(np.nan))

    def _distribution(self, raw: Raw, file: str) -> NDArray[np.float32]:
        if raw.dtype.kind not in "biuf":
            raise DataError(f"{file}: {self.target} are numbers, got text", fix="target: class")
        values = raw.ravel().astype(np.float64)
        entries = max(self.subset, default=self.classes - 1) + 1
        if len(values) != entries and (not self.subset or len(values) < entries):
            raise DataError(f"{file}: {len(values)} numbers of {entries} classes", fix=f"classes: {len(values)}, or a subset of them")
        if not np.isfinite(values).all():
            return np.full(self.classes, np.nan, np.float32)
        chosen = list(self.subset) or slice(None)
        if self.target == "logits":
            logits = values[chosen] / self.temperature
            values = np.exp(logits - logits.max())
        else:
            if values.min() < 0 or abs(values.sum() - 1) > ROUNDING:
                message = (
                    f"{file}: probabilities are 0 or more and add up to 1; the least is {values.min():.4g}, their sum {values.sum():.4g}"
                )
                raise DataError(message, fix="target: logits, or correct the label")
            values = values[chosen]
        total = values.sum()
        return (values / total if total > 0 else np.full(self.classes, np.nan)).astype(np.float32)


class ClassMetrics(Metrics):
    """Percent of the samples whose class is the likeliest, or among the five likeliest; and the former of each class, their mean.

    Classes that no sample has are left out of that mean. Of a distribution, the class is its likeliest.
    """

    def __init__(self, task: Classification) -> None:
        self._task = task
        self._top = [count for count in (1, TOP) if count == 1 or task.classes > TOP]
        self._hits = torch.zeros(len(self._top), task.classes, dtype=torch.int64)
        self._samples = torch.zeros(task.classes, dtype=torch.int64)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        labeled = target.ne(self._task.ignore_index) if target.ndim == 1 else target.isfinite().all(dim=1)
        scores, target = prediction.float()[labeled].cpu(), target[labeled].cpu()
        classes = target if target.ndim == 1 else target.argmax(dim=1)
        order = scores.topk(self._top[-1], dim=1).indices
        self._samples += torch.bincount(classes, minlength=self._task.classes)
        for row, count in enumerate(self._top):
            hit = (order[:, :count] == classes[:, None]).any(dim=1)
            self._hits[row] += torch.bincount(classes[hit], minlength=self._task.classes)

    def compute(self) -> dict[str, float]:
        samples = int(self._samples.sum())
        if samples == 0:
            return dict.fromkeys(self._task.metric_directions, math.nan)
        seen = self._samples > 0
        top = {f"top{count}": 100 * int(self._hits[row].sum()) / samples for row, count in enumerate(self._top)}
        return {**top, "class_accuracy": float((100 * self._hits[0].double() / self._samples)[seen].mean())}


class MultiLabelMetrics(Metrics):
    """Average precision of each class that some sample has, over the samples of which that is known, and the mean of these, in percent."""

    def __init__(self, task: Classification) -> None:
        self._task = task
        self._scores: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self._scores.append(prediction.float().cpu().double().sigmoid())
        self._targets.append(target.cpu())

    def compute(self) -> dict[str, float]:
        from torchmetrics.functional.classification import binary_average_precision  # slow to import, and only needed here

        scores, targets = torch.cat(self._scores), torch.cat(self._targets)
        values = torch.full((self._task.classes,), math.nan, dtype=torch.float64)
        for index in range(self._task.classes):
            known = targets[:, index].isfinite()
            if bool((targets[known, index] == 1).any()):
                values[index] = 100 * binary_average_precision(scores[known, index], targets[known, index].long(), validate_args=False)
        return {name: float(value) for name, value in zip(self._task.metric_directions, [values.nanmean(), *values], strict=True)}
