"""What a sample's values are while they are transformed: torchvision's ``tv_tensors``, with kernels of our own for labels.

All labels are ``Mask``s to torchvision, so any of its geometric functionals moves them; what is special is registered here:

| class | value | resize | horizontal flip |
|---|---|---|---|
| ``tv_tensors.Image`` | (3, H, W), bytes or 32-bit numbers | bilinear, antialiased | plain |
| ``Ids`` | (H, W) | nearest | plain |
| ``Normals`` | (3, H, W), zero where unlabeled | nearest | negates x |
| ``Depths`` | (1, H, W), zero where unlabeled | mean of the labeled, unlabeled where less than half is labeled | plain |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torchvision import tv_tensors  # pyright: ignore[reportMissingTypeStubs]
from torchvision.transforms import InterpolationMode  # pyright: ignore[reportMissingTypeStubs]
from torchvision.transforms.v2 import functional as F  # pyright: ignore[reportMissingTypeStubs]

from graphnas.tasks.base import TargetKind


class Ids(tv_tensors.Mask):
    """Class numbers."""


class Normals(tv_tensors.Mask):
    """Unit vectors."""


class Depths(tv_tensors.Mask):
    """Metres."""


_KINDS: dict[TargetKind, type[tv_tensors.Mask]] = {"ids": Ids, "normal": Normals, "depth": Depths}

Value = TypeVar("Value", bound=tv_tensors.TVTensor)
Kernel = Callable[..., Tensor]


def image_value(tensor: Tensor) -> tv_tensors.Image:
    """An input, without a copy."""
    return tensor.as_subclass(tv_tensors.Image)


def target_value(tensor: Tensor, kind: TargetKind) -> tv_tensors.Mask:
    """A label, without a copy."""
    return tensor.as_subclass(_KINDS[kind])


def plain(value: tv_tensors.TVTensor) -> Tensor:
    """The tensor that it is."""
    return value.as_subclass(Tensor)


def resize(value: Value, size: tuple[int, int]) -> Value:
    """To (height, width), as the table says."""
    return _functional("resize")(value, list(size), antialias=True)


def crop(value: Value, top: int, left: int, height: int, width: int) -> Value:
    """A window."""
    return _functional("crop")(value, top, left, height, width)


def horizontal_flip(value: Value) -> Value:
    """Left for right, as the table says."""
    return _functional("horizontal_flip")(value)


def as_float(image: tv_tensors.Image) -> tv_tensors.Image:
    """32-bit numbers where 1 is white."""
    return _functional("to_dtype")(image, torch.float32, scale=True) if image.dtype == torch.uint8 else image


def adjusted(image: tv_tensors.Image, what: str, amount: float) -> tv_tensors.Image:
    """Change brightness, contrast or saturation by a factor, or hue by a share of the circle."""
    return _functional(f"adjust_{what}")(image, amount)


def _functional(name: str) -> Callable[..., Any]:
    """A functional of torchvision's; they are typed to take any kind of value and return the same kind."""
    return getattr(F, name)


def _register(name: str, kind: type[tv_tensors.Mask]) -> Callable[[Kernel], Kernel]:
    """Make a function of plain tensors torchvision's kernel for values of this kind."""

    def register(kernel: Kernel) -> Kernel:
        def wrapped(value: tv_tensors.Mask, *args: Any, **options: Any) -> tv_tensors.Mask:
            return kernel(plain(value), *args, **options).as_subclass(kind)

        F.register_kernel(name, kind)(wrapped)  # pyright: ignore[reportUnknownMemberType]
        return kernel

    return register


_MIRROR = torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1)


@_register("horizontal_flip", Normals)
def _flip_normals(normals: Tensor) -> Tensor:
    return normals.flip(-1) * _MIRROR


@_register("resize", Ids)
@_register("resize", Normals)
def _resize_nearest(label: Tensor, size: list[int], **_: Any) -> Tensor:
    channels = label if label.ndim == 3 else label[None]
    return F.resize_image(channels, size, interpolation=InterpolationMode.NEAREST_EXACT).view(*label.shape[:-2], *size)


@_register("resize", Depths)
def _resize_depths(metres: Tensor, size: list[int], **_: Any) -> Tensor:
    share = F.resize_image((metres > 0).float(), size, antialias=True)
    return (F.resize_image(metres, size, antialias=True) / share.clamp(min=0.5)).where(share >= 0.5, 0)
