"""Surface normals: unit vectors, one a pixel.

With x the prediction, p = x / |x| and t the label, the losses are 1 - p.t (``cosine``), the angle between them in radians (``angular``),
and the mean over the three components of |p - t| (``l1``) or (p - t)^2 (``l2``).

Labels come in any frame that ``frame`` states and are turned into one: right, up, to the viewer. In it networks predict, and transforms
know what a flip or a rotation of the image does to a vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from graphnas.errors import DataError
from graphnas.schema import Number, PositiveNumber, Spec, error_at, refuse
from graphnas.tasks.base import Metrics, Raw, TaskType, float32, masked_mean, resized, three_channels

Color = tuple[Number, Number, Number]

WITHIN = (11.25, 22.5, 30.0)  # degrees; the thresholds of Eigen and Fergus (arXiv:1411.4734)
SHORTEST = 0.1  # below this length a label is no direction but noise about zero: one step of 8 bits is 0.014
SMALLEST_LENGTH = 1e-6  # keeps the gradient of a length finite where there is none
SMALLEST_PREDICTION = 1e-3  # shorter predictions are not stretched to unit length, so that gradients stay below 1 / this
BINS_PER_DEGREE = 1000  # resolution of the median; every limit of WITHIN lies between two of them
BINS = 180 * BINS_PER_DEGREE + 1


def _colors(value: Any) -> Any:
    """One color for a list of one."""
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (list, tuple)):
        return (cast("object", value),)
    return cast("object", value)


Axis = Literal["right", "left", "up", "down", "viewer", "scene"]
_AXES: dict[Axis, tuple[int, int]] = {  # number of the axis and sign in (right, up, viewer)
    "right": (0, 1),
    "left": (0, -1),
    "up": (1, 1),
    "down": (1, -1),
    "viewer": (2, 1),
    "scene": (2, -1),
}


class Frame(Spec):
    """Where the three components of a label point, seen in the image."""

    x: Axis = "right"
    """Of the first: right, left, up, down, viewer (out of the image), or scene (into it)."""
    y: Axis = "up"
    """Of the second."""
    z: Axis = "viewer"
    """Of the third."""

    @model_validator(mode="after")
    def _three_axes(self) -> Frame:
        axes = (self.x, self.y, self.z)
        if len({_AXES[axis][0] for axis in axes}) < len(axes):
            said = f"x: {self.x}, y: {self.y}, z: {self.z}"
            refuse(
                [error_at((), f"two of three components lie on one axis: {said}", "{x: right, y: down, z: scene}, or another three axes")]
            )
        return self

    def common(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same vectors, (H, W, 3), as right, up, to the viewer."""
        turned = np.empty_like(vectors)
        for index, axis in enumerate((self.x, self.y, self.z)):
            number, sign = _AXES[axis]
            turned[:, :, number] = sign * vectors[:, :, index]
        return turned


class NormalEncoding(Spec):
    """How the numbers of a label stand for a vector: n = (value - offset) / scale."""

    offset: Number = 0.0
    """The number that stands for 0: 128 in images of 8 bits."""
    scale: PositiveNumber = 1.0
    """The numbers between 0 and 1: 127 in images of 8 bits."""
    invalid: Annotated[tuple[Color, ...], BeforeValidator(_colors, json_schema_input_type=Color | tuple[Color, ...])] = ()
    """Values that mean "no normal here": one [r, g, b], or a list of them. NaN and vectors of no length mean it always."""


class SurfaceNormal(TaskType):
    """Surface normals, one unit vector a pixel; three channels."""

    type: Literal["surface_normal"] = "surface_normal"
    encoding: NormalEncoding | None = Field(default=None, examples=[{"offset": 128, "scale": 127, "invalid": [128, 128, 128]}])
    """How labels are stored; left out, they are vectors in floating-point numbers."""
    frame: Frame = Field(default=Frame(), examples=[{"x": "right", "y": "down", "z": "scene"}])
    """Where the components of a label point. The network predicts right, up, to the viewer, whatever stands here."""
    loss: Literal["cosine", "angular", "l1", "l2"] = "cosine"
    """cosine: 1 - cos of the angle; angular: the angle in radians; l1, l2: of the difference of unit vectors."""

    target_kind = "normal"
    metric_directions = {
        "mean_angle": "min",
        "median_angle": "min",
        "rmse_angle": "min",
        **{f"within_{limit:g}": "max" for limit in WITHIN},
    }
    metric_units = {**dict.fromkeys(("mean_angle", "median_angle", "rmse_angle"), "°"), **{f"within_{limit:g}": "%" for limit in WITHIN}}

    @property
    def out_channels(self) -> int:
        return 3

    def decode(self, raw: Raw, *, file: str) -> Tensor:
        """Unit vectors (right, up, to the viewer), (3, H, W); zero where there is no label."""
        raw = three_channels(raw, what="surface normals", file=file)
        encoding = self.encoding
        if encoding is None:
            if not np.issubdtype(raw.dtype, np.floating):
                raise DataError(
                    f"{file}: {raw.dtype} numbers are no unit vectors, and no encoding is given",
                    fix="encoding: {offset: 127.5, scale: 127.5}, or what the data set's authors say",
                )
            encoding = NormalEncoding()
        vectors = (float32(raw) - np.float32(encoding.offset)) / np.float32(encoding.scale)
        length = np.sqrt(np.square(vectors).sum(axis=2))
        labeled = np.isfinite(length) & (length >= SHORTEST)
        for color in encoding.invalid:
            labeled &= (raw != np.asarray(color)).any(axis=2)
        unit = np.where(labeled[:, :, None], vectors / np.where(labeled, length, 1)[:, :, None], np.float32(0))
        return torch.as_tensor(np.ascontiguousarray(self.frame.common(unit).transpose(2, 0, 1)))

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        labeled = target.ne(0).any(dim=1)
        unit = F.normalize(resized(prediction, target).where(labeled[:, None], 0), dim=1, eps=SMALLEST_PREDICTION)
        match self.loss:
            case "cosine":
                values = 1 - (unit * target).sum(dim=1)
            case "angular":
                values = 2 * torch.atan2(_length(unit - target), _length(unit + target))  # W. Kahan's: exact near zero, finite gradients
            case "l1":
                values = (unit - target).abs().mean(dim=1)
            case "l2":
                values = (unit - target).square().mean(dim=1)
        return masked_mean(values, labeled)

    def answer(self, prediction: Tensor) -> Tensor:
        """Unit vectors: right, up, to the viewer."""
        return F.normalize(prediction, dim=1, eps=SMALLEST_PREDICTION)

    def new_metrics(self) -> Metrics:
        return NormalMetrics()


class NormalMetrics(Metrics):
    """Angles between prediction and label over all labeled pixels, in degrees; the ``within_`` ones in percent of the pixels.

    Mean and root mean square are of double precision; the median is exact to a thousandth of a degree.
    """

    def __init__(self) -> None:
        self._histogram = torch.zeros(BINS, dtype=torch.int64)
        self._sum = self._squares = 0.0

    def update(self, prediction: Tensor, target: Tensor) -> None:
        labeled = _of_some_length(target.unbind(1)).cpu()
        angles = angle_degrees(resized(prediction.float(), target), target).cpu().double().where(labeled, 0)
        bins = (angles * BINS_PER_DEGREE).nan_to_num(BINS - 1).long().where(labeled, BINS)  # the last one of what is not labeled
        self._histogram += torch.bincount(bins.flatten(), minlength=BINS + 1)[:BINS]
        self._sum += float(angles.sum())
        self._squares += float(angles.square().sum())

    def compute(self) -> dict[str, float]:
        below = self._histogram.cumsum(0)
        pixels = int(below[-1])
        if pixels == 0:
            return dict.fromkeys(SurfaceNormal.metric_directions, math.nan)
        middle = int(torch.searchsorted(below, (pixels + 1) // 2))  # the lower one of an even number, as torch.median
        return {
            "mean_angle": self._sum / pixels,
            "median_angle": (middle + 0.5) / BINS_PER_DEGREE,
            "rmse_angle": math.sqrt(self._squares / pixels),
            **{f"within_{limit:g}": 100 * int(below[round(limit * BINS_PER_DEGREE) - 1]) / pixels for limit in WITHIN},
        }


def angle_degrees(a: Tensor, b: Tensor) -> Tensor:
    """Angles between vectors along dimension 1, in degrees: atan2(|a x b|, a.b), exact also near zero; 90 for a vector of no length.

    Component by component, each in one piece: several times as fast as torch's functions of a dimension of three.
    """
    of_a, of_b = a.contiguous().unbind(1), b.contiguous().unbind(1)
    (x, y, z), (u, v, w) = of_a, of_b
    sine = ((y * w - z * v).square() + (z * u - x * w).square() + (x * v - y * u).square()).sqrt()
    return torch.rad2deg(torch.atan2(sine, x * u + y * v + z * w)).where(_of_some_length(of_a) & _of_some_length(of_b), 90.0)


def _of_some_length(components: Sequence[Tensor]) -> Tensor:
    x, y, z = components
    return x.ne(0) | y.ne(0) | z.ne(0)


def _length(vectors: Tensor) -> Tensor:
    return (vectors.square().sum(dim=1) + SMALLEST_LENGTH**2).sqrt()
