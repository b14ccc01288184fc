"""Changes of a sample, of its inputs and all of its labels together.

A random change draws from the sample's own generator, so that it depends on seed, epoch and sample alone. In evaluation only those that are
not random happen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from random import Random
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torchvision import tv_tensors  # pyright: ignore[reportMissingTypeStubs]

from graphnas.data.tensors import adjusted, crop, horizontal_flip, pad, resize, rotate, zoom
from graphnas.schema import Flag, NonNegativeNumber, PositiveInt, PositiveNumber, Share, Spec, problem
from graphnas.tasks.base import Change


class TransformError(Exception):
    """A sample that a transform can't change.

    Args:
        message: What does not fit, with both sizes.
        fix: What would.
    """

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class Transform(Spec, ABC):
    """One change. Subclasses say their ``name``."""

    name: ClassVar[str]
    random: ClassVar[bool]
    """Whether it draws anything; such a change happens in training only."""
    change: ClassVar[Change | None] = None
    """What it does to where pixels are; ``None`` if it leaves them in their places."""
    sizes: ClassVar[Literal["kept", "fixed", "varied"]] = "kept"
    """Whether samples of one size are of one size afterwards, of whatever size they were, or of several."""

    @abstractmethod
    def apply(self, values: Sequence[tv_tensors.TVTensor], random: Random) -> list[tv_tensors.TVTensor]:
        """The changed values of a sample, in the same order; those given are left as they are.

        Args:
            values: Inputs and labels, all of one height and width if the transform moves pixels.
            random: What to draw from.
        Raises:
            TransformError: The sizes don't fit.
        """


class Resize(Transform):
    """To a fixed size: images bilinearly, class numbers and normals by the nearest pixel, other numbers by the mean of what is labeled.

    Lengths in pixels (disparities, optical flow) are changed with the size.
    """

    name: ClassVar[str] = "resize"
    random: ClassVar[bool] = False
    change: ClassVar[Change | None] = "resize"
    sizes: ClassVar[Literal["kept", "fixed", "varied"]] = "fixed"
    telling: ClassVar[str | None] = "size"

    size: tuple[PositiveInt, PositiveInt] = Field(examples=[[40, 56]])
    """Height and width, in pixels."""

    def apply(self, values: Sequence[tv_tensors.TVTensor], random: Random) -> list[tv_tensors.TVTensor]:
        return [value if tuple(value.shape[-2:]) == self.size else resize(value, self.size) for value in values]


class RandomScale(Transform):
    """Larger or smaller by a random factor, as if things came nearer: depth is divided by it, and normals follow; a crop comes after it."""

    name: ClassVar[str] = "random_scale"
    random: ClassVar[bool] = True
    telling: ClassVar[str | None] = "between"
    change: ClassVar[Change | None] = "scale"
    sizes: ClassVar[Literal["kept", "fixed", "varied"]] = "varied"

    between: tuple[PositiveNumber, PositiveNumber] | None = Field(default=None, examples=[[1.0, 1.5]])
    """The smallest and the largest factor, or"""
    among: tuple[PositiveNumber, ...] = Field(default=(), examples=[[1.0, 1.2, 1.5]])
    """the factors to choose from."""

    @model_validator(mode="after")
    def _one(self) -> RandomScale:
        if (self.between is None) == (not self.among):
            raise problem("one of between and among says which factors there are", "random_scale: [1.0, 1.5]")
        if self.between is not None and self.between[0] > self.between[1]:
            raise problem(
                f"the smallest factor, {self.between[0]:g}, is larger than the largest, {self.between[1]:g}", "[SMALLEST, LARGEST]"
            )
        return self

    def apply(self, values: Sequence[tv_tensors.TVTensor], random: Random) -> list[tv_tensors.TVTensor]:
        factor = random.choice(self.among) if self.between is None else random.uniform(*self.between)
        rows, columns = values[0].shape[-2:]
        size = (max(1, round(factor * rows)), max(1, round(factor * columns)))
        return list(values) if size == (rows, columns) else [zoom(value, size) for value in values]


class RandomCrop(Transform):
    """A window of fixed size at a random place; in evaluation the whole image."""

    name: ClassVar[str] = "random_crop"
    random: ClassVar[bool] = True
    telling: ClassVar[str | None] = "size"
    change: ClassVar[Change | None] = "crop"
    sizes: ClassVar[Literal["kept", "fixed", "varied"]] = "fixed"

    size: tuple[PositiveInt, PositiveInt] = Field(examples=[[40, 56]])
    """Height and width, in pixels."""
    pad: Flag = False
    """Whether smaller samples get black, unlabeled pixels around; else they are an error."""

    def apply(self, values: Sequence[tv_tensors.TVTensor], random: Random) -> list[tv_tensors.TVTensor]:
        height, width = self.size
        values = self._padded(values) if self.pad else list(values)
        rows, columns = values[0].shape[-2:]
        if rows < height or columns < width:
            raise TransformError(
                f"a crop of [{height}, {width}] is larger than the sample, [{rows}, {columns}]",
                f"random_crop: [{min(height, rows)}, {min(width, columns)}], a resize before it, or random_crop: "
                f"{{size: [{height}, {width}], pad: true}}",
            )
        top, left = random.randrange(rows - height + 1), random.randrange(columns - width + 1)
        return [crop(value, top, left, height, width) for value in values]

    def _padded(self, values: Sequence[tv_tensors.TVTensor]) -> list[tv_tensors.TVTensor]:
        """With as much on both sides, up to a pixel."""
        height, width = self.size
        rows, columns = values[0].shape[-2:]
        more_rows, more_columns = max(0, height - rows), max(0, width - columns)
        if not more_rows and not more_columns:
            return list(values)
        left, top = more_columns // 2, more_rows // 2
        return [pad(value, left, top, more_columns - left, more_rows - top) for value in values]


class Rotation(Transform):
    """About the middle by a random angle, in the same size; normals and vectors turn along, and the corners are black and unlabeled."""

    name: ClassVar[str] = "rotation"
    random: ClassVar[bool] = True
    telling: ClassVar[str | None] = "degrees"
    change: ClassVar[Change | None] = "rotation"

    degrees: PositiveNumber = Field(le=180, examples=[10.0])
    """The largest angle, to either side."""

    def apply(self, values: Sequence[tv_tensors.TVTensor], random: Random) -> list[tv_tensors.TVTensor]:
        angle = random.uniform(-self.degrees, self.degrees)
        return [rotate(value, angle) for value in values]


class HorizontalFlip(Transform):
    """Left for right, now and then; the x of normals and vectors is negated."""

    name: ClassVar[str] = "horizontal_flip"
    random: ClassVar[bool] = True
    telling: ClassVar[str | None] = "probability"
    change: ClassVar[Change | None] = "flip"

    probability: Share = 0.5
    """Share of the samples that are flipped."""

    def apply(self, values: Sequence[tv_tensors.TVTensor], random: Random) -> list[tv_tensors.TVTensor]:
        if random.random() >= self.probability:
            return list(values)
        return [horizontal_flip(value) for value in values]


class ColorJitter(Transform):
    """Random brightness, contrast, saturation and hue of images, in random order; labels stay as they are.

    A strength of s draws a factor from [1 - s, 1 + s], not below 0; hue moves by [-hue, hue] of the color circle.
    """

    name: ClassVar[str] = "color_jitter"
    random: ClassVar[bool] = True
    telling: ClassVar[str | None] = "strength"

    strength: NonNegativeNumber = 0.0
    """Of brightness, contrast and saturation, where they do not say their own."""
    brightness: NonNegativeNumber | None = Field(default=None, examples=[0.3])
    """Largest change, as a share; ``strength``, if left out."""
    contrast: NonNegativeNumber | None = Field(default=None, examples=[0.3])
    """Largest change, as a share; ``strength``, if left out."""
    saturation: NonNegativeNumber | None = Field(default=None, examples=[0.3])
    """Largest change, as a share; ``strength``, if left out."""
    hue: NonNegativeNumber = Field(default=0.0, le=0.5)
    """Largest turn of the color circle, as a share of it."""

    def apply(self, values: Sequence[tv_tensors.TVTensor], random: Random) -> list[tv_tensors.TVTensor]:
        amounts: list[tuple[str, float]] = []
        for what, own in (("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation)):
            strength = self.strength if own is None else own
            amounts.append((what, random.uniform(max(0.0, 1 - strength), 1 + strength)))
        amounts.append(("hue", random.uniform(-self.hue, self.hue)))
        random.shuffle(amounts)
        changes = [(what, amount) for what, amount in amounts if amount != (0 if what == "hue" else 1)]
        return [adjusted(value, changes) if isinstance(value, tv_tensors.Image) else value for value in values]
