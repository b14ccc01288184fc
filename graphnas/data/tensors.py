"""What a sample's values are while they are transformed: torchvision's ``tv_tensors``, with kernels of our own for labels.

Any of torchvision's geometric functionals moves labels that are ``Mask``s; what is special is registered here. What a sample goes through
in every epoch, crops, flips and changes of color, is done here without torchvision's dispatch, which takes longer than the work itself on
small images, and with the same results, bit for bit.

| class | value | resize | zoom by s | horizontal flip | rotation |
|---|---|---|---|---|---|
| ``tv_tensors.Image`` | (3, H, W), bytes or 32-bit numbers | bilinear, antialiased | plain | plain | bilinear |
| ``Ids`` | (H, W) | nearest | plain | plain | nearest |
| ``Boundaries`` | (H, W), 0 and 1 | what is boundary stays one | plain | plain | nearest |
| ``Normals`` | (3, H, W), zero where unlabeled | nearest | z times s, then unit length | negates x | turns (x, y) |
| ``Depths`` | (1, H, W), zero where unlabeled | mean of the labeled | 1 / s | plain | nearest |
| ``InverseDepths`` | (1, H, W), zero where unlabeled | mean of the labeled | s | plain | nearest |
| ``PixelDisparities`` | (1, H, W), zero where unlabeled | mean of the labeled, times new width / width | plain | (refused) | (refused) |
| ``Maps`` | (C, H, W), NaN where unlabeled | mean of the labeled | plain | plain | nearest |
| ``Vectors`` | (C, H, W), right and down first, NaN | mean of the labeled | plain | negates x | turns (x, y) |
| ``PixelVectors`` | the same, in pixels | mean of the labeled, times the new size / size | plain | negates x | turns (x, y) |
| ``PerSample`` | any shape without pixels | none | none | none | none |
| ``PerSampleVectors`` | (C,), right and down first | none | none | negates x | turns (x, y) |

*Mean of the labeled*: unlabeled where less than half is labeled. *Plain*: the pixels move, the numbers stay (in a zoom, as a resize does).
What comes into view where there was no image is unlabeled, and black.

Why a zoom changes depth and normals: to the same camera, an image s times as large with depths z / s shows the scene squeezed by s along
the optical axis, (X, Y, Z / s), whose normals are (x, y, s z). So depths, disparities and normals stay those of one scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torchvision import tv_tensors  # pyright: ignore[reportMissingTypeStubs]
from torchvision.transforms import InterpolationMode  # pyright: ignore[reportMissingTypeStubs]
from torchvision.transforms.v2 import functional as F  # pyright: ignore[reportMissingTypeStubs]

from graphnas.tasks.base import TargetKind


class Ids(tv_tensors.Mask):
    """Class numbers."""

    unlabeled: int = 255


class Boundaries(Ids):
    """1 on boundaries, 0 elsewhere."""


class Normals(tv_tensors.Mask):
    """Unit vectors: right, up, to the viewer."""


class Depths(tv_tensors.Mask):
    """Metres."""


class InverseDepths(Depths):
    """1 / metres."""


class PixelDisparities(Depths):
    """Widths of a pixel."""


class Maps(tv_tensors.Mask):
    """Any numbers."""


class Vectors(Maps):
    """Vectors: right, down, and others."""


class PixelVectors(Vectors):
    """Vectors in widths and heights of a pixel: right, down, and others."""


class PerSample(tv_tensors.TVTensor):
    """What is of the whole sample."""


class PerSampleVectors(PerSample):
    """A vector of the whole sample: right, down, and others."""


_KINDS: dict[TargetKind, type[tv_tensors.TVTensor]] = {
    "ids": Ids,
    "boundary": Boundaries,
    "normal": Normals,
    "depth": Depths,
    "inverse_depth": InverseDepths,
    "pixel_disparity": PixelDisparities,
    "map": Maps,
    "vector_map": Vectors,
    "pixel_vector_map": PixelVectors,
    "sample": PerSample,
    "direction": PerSampleVectors,
}

Value = TypeVar("Value", bound=tv_tensors.TVTensor)
Kernel = Callable[..., Tensor]


def image_value(tensor: Tensor) -> tv_tensors.Image:
    """An input, without a copy."""
    return tensor.as_subclass(tv_tensors.Image)


def target_value(tensor: Tensor, kind: TargetKind, unlabeled: int = 255) -> tv_tensors.TVTensor:
    """A label, without a copy.

    Args:
        tensor: As in ``graphnas.tasks.base``.
        kind: What transforms do to it.
        unlabeled: What stands in whole numbers where there is no label.
    """
    value = tensor.as_subclass(_KINDS[kind])
    if isinstance(value, Ids):
        value.unlabeled = unlabeled
    return value


def plain(value: tv_tensors.TVTensor) -> Tensor:
    """The tensor that it is."""
    return value.as_subclass(Tensor)


def resize(value: Value, size: tuple[int, int]) -> Value:
    """To (height, width), as the table says."""
    return _moved(value, "resize", list(size), antialias=True)


def zoom(value: Value, size: tuple[int, int]) -> Value:
    """To (height, width), as if the camera saw things larger by new width / width, as the table says."""
    larger = resize(value, size)
    change = next((_ZOOMS[kind] for kind in type(value).__mro__ if kind in _ZOOMS), None)
    if change is None or value.shape[-1] == size[1]:
        return larger
    return change(plain(larger), size[1] / value.shape[-1]).as_subclass(type(value))


def crop(value: Value, top: int, left: int, height: int, width: int) -> Value:
    """A window that lies within, without a copy."""
    if isinstance(value, PerSample):
        return value
    return _like(value, plain(value)[..., top : top + height, left : left + width])


def pad(value: Value, left: int, top: int, right: int, bottom: int) -> Value:
    """More pixels around: black, and unlabeled."""
    return _moved(value, "pad", [left, top, right, bottom], fill=_fill(value))


def horizontal_flip(value: Value) -> Value:
    """Left for right, as the table says."""
    if isinstance(value, (Normals, Vectors)):
        return _like(value, _flip_vectors(plain(value)))
    if isinstance(value, PerSample):
        return _like(value, _with_x_negated(plain(value))) if isinstance(value, PerSampleVectors) else value
    return _like(value, plain(value).flip(-1))


def rotate(value: Value, degrees: float) -> Value:
    """About the middle, counterclockwise, in the same size, as the table says."""
    interpolation = InterpolationMode.BILINEAR if isinstance(value, tv_tensors.Image) else InterpolationMode.NEAREST
    return _moved(value, "rotate", degrees, interpolation=interpolation, fill=_fill(value))


def as_float(image: tv_tensors.Image) -> tv_tensors.Image:
    """32-bit numbers where 1 is white."""
    return adjusted(image, ())


def adjusted(image: tv_tensors.Image, changes: Iterable[tuple[str, float]]) -> tv_tensors.Image:
    """Change brightness, contrast or saturation by a factor, or hue by a share of the circle, one after the other, in 32-bit numbers."""
    pixels = plain(image)
    if pixels.dtype == torch.uint8:
        pixels = _functional("to_dtype_image")(pixels, torch.float32, scale=True)
    for what, amount in changes:
        pixels = _functional(f"adjust_{what}_image")(pixels, amount)
    return _like(image, pixels)


def _moved(value: Value, name: str, *args: Any, **options: Any) -> Value:
    """What a functional makes of a value, which goes on to know what stands in it where there is no label."""
    return _like(value, _functional(name)(value, *args, **options))


def _like(value: Value, tensor: Tensor) -> Value:
    """A tensor as a value of the same kind."""
    made = tensor.as_subclass(type(value))
    if isinstance(made, Ids) and isinstance(value, Ids):
        made.unlabeled = value.unlabeled
    return made


def _fill(value: tv_tensors.TVTensor) -> float:
    """What stands where there was no image."""
    if isinstance(value, Ids):
        return value.unlabeled
    return math.nan if isinstance(value, Maps) else 0


def _functional(name: str) -> Callable[..., Any]:
    """A functional of torchvision's; they are typed to take any kind of value and return the same kind."""
    return getattr(F, name)


def _register(name: str, kind: type[tv_tensors.TVTensor]) -> Callable[[Kernel], Kernel]:
    """Make a function of plain tensors torchvision's kernel for values of this kind, and of those derived from it."""

    def register(kernel: Kernel) -> Kernel:
        def wrapped(value: tv_tensors.TVTensor, *args: Any, **options: Any) -> tv_tensors.TVTensor:
            return kernel(plain(value), *args, **options).as_subclass(type(value))

        F.register_kernel(name, kind)(wrapped)  # pyright: ignore[reportUnknownMemberType]
        return kernel

    return register


@_register("resize", PerSample)
@_register("crop", PerSample)
@_register("pad", PerSample)
@_register("horizontal_flip", PerSample)
@_register("rotate", PerSample)
def _same(value: Tensor, *_: Any, **__: Any) -> Tensor:
    return value


@_register("horizontal_flip", Normals)
@_register("horizontal_flip", Vectors)
def _flip_vectors(vectors: Tensor) -> Tensor:
    return _with_x_negated(vectors.flip(-1))


@_register("horizontal_flip", PerSampleVectors)
def _with_x_negated(vectors: Tensor) -> Tensor:
    return torch.cat([-vectors[:1], vectors[1:]])


@_register("rotate", Normals)
def _rotate_normals(normals: Tensor, angle: float, **options: Any) -> Tensor:
    return _turned(F.rotate_mask(normals, angle, fill=options["fill"]), angle)


@_register("rotate", Vectors)
def _rotate_vectors(vectors: Tensor, angle: float, **options: Any) -> Tensor:
    return _turned(F.rotate_mask(vectors, angle, fill=options["fill"]), -angle)  # y points down


@_register("rotate", PerSampleVectors)
def _rotate_vector(vector: Tensor, angle: float, **_: Any) -> Tensor:
    return _turned(vector, -angle)


def _turned(vectors: Tensor, degrees: float) -> Tensor:
    """(x, y) turned from x towards y."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    x, y = vectors[0], vectors[1]
    return torch.cat([torch.stack([cosine * x - sine * y, sine * x + cosine * y]), vectors[2:]])


@_register("resize", Ids)
@_register("resize", Normals)
def _resize_nearest(label: Tensor, size: list[int], **_: Any) -> Tensor:
    channels = label if label.ndim == 3 else label[None]
    return F.resize_image(channels, size, interpolation=InterpolationMode.NEAREST_EXACT).view(*label.shape[:-2], *size)


@_register("resize", Boundaries)
def _resize_boundaries(label: Tensor, size: list[int], **_: Any) -> Tensor:
    """A pixel is boundary if any of those in its place is one; else unlabeled if any is."""
    rank = torch.tensor([0.0, 2.0, 1.0])[label.clamp(max=2).long()]  # nothing, boundary, unlabeled
    smaller = torch.nn.functional.adaptive_max_pool2d(rank[None], [min(a, b) for a, b in zip(size, label.shape, strict=True)])
    most = F.resize_image(smaller, size, interpolation=InterpolationMode.NEAREST_EXACT)[0].long()
    return torch.tensor([0, 255, 1], dtype=label.dtype)[most]


@_register("resize", Depths)
def _resize_depths(metres: Tensor, size: list[int], **_: Any) -> Tensor:
    return _mean_of_labeled(metres, metres > 0, size, 0)


@_register("resize", PixelDisparities)
def _resize_disparities(pixels: Tensor, size: list[int], **_: Any) -> Tensor:
    return _resize_depths(pixels, size) * (size[1] / pixels.shape[-1])


@_register("resize", Maps)
def _resize_maps(numbers: Tensor, size: list[int], **_: Any) -> Tensor:
    labeled = numbers.isfinite()
    return _mean_of_labeled(numbers.where(labeled, 0), labeled, size, math.nan)


@_register("resize", PixelVectors)
def _resize_pixel_vectors(vectors: Tensor, size: list[int], **_: Any) -> Tensor:
    height, width = vectors.shape[-2:]
    factors = torch.ones(len(vectors), 1, 1)
    factors[0], factors[1] = size[1] / width, size[0] / height
    return _resize_maps(vectors, size) * factors


def _mean_of_labeled(numbers: Tensor, labeled: Tensor, size: list[int], unlabeled: float) -> Tensor:
    """Resized; zero is expected in ``numbers`` where there is no label."""
    share = F.resize_image(labeled.float(), size, antialias=True)
    return (F.resize_image(numbers, size, antialias=True) / share.clamp(min=0.5)).where(share >= 0.5, unlabeled)


def _zoom_normals(normals: Tensor, factor: float) -> Tensor:
    squeezed = normals * torch.tensor([1.0, 1.0, factor]).view(3, 1, 1)
    return torch.nn.functional.normalize(squeezed, dim=0)


_ZOOMS: dict[type, Callable[[Tensor, float], Tensor]] = {
    Normals: _zoom_normals,
    InverseDepths: lambda inverse, factor: inverse * factor,
    PixelDisparities: lambda pixels, factor: pixels,  # a resize has changed them already
    Depths: lambda metres, factor: metres / factor,
}
