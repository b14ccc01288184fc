"""Changes of a sample, of its inputs and all of its labels together.

A random change draws from the sample's own generator, so that it depends on seed, epoch and sample alone. In evaluation only those that are
not random happen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from random import Random
from typing import ClassVar

from pydantic import Field
from torchvision import tv_tensors  # pyright: ignore[reportMissingTypeStubs]

from graphnas.data.tensors import adjusted, as_float, crop, horizontal_flip, resize
from graphnas.schema import NonNegativeNumber, PositiveInt, Share, Spec


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
    """To a fixed size: images bilinearly, class numbers and normals by the nearest pixel, depth by the mean of what is labeled."""

    name: ClassVar[str] = "resize"
    random: ClassVar[bool] = False
    telling: ClassVar[str | None] = "size"

    size: tuple[PositiveInt, PositiveInt] = Field(examples=[[40, 56]])
    """Height and width, in pixels."""

    def apply(self, values: Sequence[tv_tensors.TVTensor], random: Random) -> list[tv_tensors.TVTensor]:
        return [value if tuple(value.shape[-2:]) == self.size else resize(value, self.size) for value in values]


class RandomCrop(Transform):
    """A window of fixed size at a random place; in evaluation the whole image."""

    name: ClassVar[str] = "random_crop"
    random: ClassVar[bool] = True
    telling: ClassVar[str | None] = "size"

    size: tuple[PositiveInt, PositiveInt] = Field(examples=[[40, 56]])
    """Height and width, in pixels."""

    def apply(self, values: Sequence[tv_tensors.TVTensor], random: Random) -> list[tv_tensors.TVTensor]:
        height, width = self.size
        rows, columns = values[0].shape[-2:]
        if rows < height or columns < width:
            raise TransformError(
                f"a crop of [{height}, {width}] is larger than the sample, [{rows}, {columns}]",
                f"random_crop: [{min(height, rows)}, {min(width, columns)}], or a resize before it",
            )
        top, left = random.randrange(rows - height + 1), random.randrange(columns - width + 1)
        return [crop(value, top, left, height, width) for value in values]


class HorizontalFlip(Transform):
    """Left for right, now and then; normals' x is negated."""

    name: ClassVar[str] = "horizontal_flip"
    random: ClassVar[bool] = True
    telling: ClassVar[str | None] = "probability"

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
        return [_changed(value, changes) if isinstance(value, tv_tensors.Image) else value for value in values]


def _changed(image: tv_tensors.Image, changes: Sequence[tuple[str, float]]) -> tv_tensors.Image:
    image = as_float(image)
    for what, amount in changes:
        image = adjusted(image, what, amount)
    return image
