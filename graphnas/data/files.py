"""Bytes of a file -> a PIL image or an array; what is read -> the tensor of an input, or the array of a label."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from graphnas.errors import DataError

IMAGES = frozenset({"png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "ppm", "pgm"})
SUFFIXES = IMAGES | {"npy"}
COLORS = frozenset({"1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr"})  # PIL's modes with 8 bits a channel
BRIGHTEST = 2.0  # of floating-point images: 1 is white, and resampling overshoots a little; 255 is another scale
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, zlib.error, Image.DecompressionBombError)


def decode(data: bytes, suffix: str, *, file: str) -> Any:
    """The image or the array that a file holds.

    Args:
        data: All of the file.
        suffix: Its kind, without a dot.
        file: What it is called in messages.
    Raises:
        DataError: Broken, or of an unknown kind.
    """
    suffix = suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{file}: files of the kind {suffix!r} can't be read", fix=f"one of {', '.join(sorted(SUFFIXES))}")
    try:
        if suffix == "npy":
            return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large is no mistake; much too large is an error
            image = Image.open(io.BytesIO(data))
            image.load()
    except _BROKEN as error:
        kind = "array" if suffix == "npy" else "image"
        reason = str(error).splitlines()[0].replace(str(io.BytesIO), "").strip() if str(error) else type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "it holds no image"  # PIL's words name an object in memory
        raise DataError(f"{file}: corrupt {kind}: {reason}", fix="restore the file, or remove the sample") from None
    return image


def image_tensor(value: Any, *, file: str) -> Tensor:
    """An input: (3, H, W), bytes or 32-bit numbers where 1 is white.

    Args:
        value: A PIL image; an array (H, W) or (H, W, 3); a tensor (H, W) or (3, H, W).
        file: What it is called in messages.
    Raises:
        DataError: Something else.
    """
    if isinstance(value, Image.Image):
        if value.mode not in COLORS:
            raise DataError(f"{file}: an image of PIL's mode {value.mode} is no color image", fix="8 bits a channel")
        value = np.array(value if value.mode == "RGB" else value.convert("RGB"))
    array = label_array(value, file=file)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype.kind == "U":
        raise DataError(f"{file}: neither an image nor numbers, but {type(value).__name__}", fix="a PIL image, an array or a tensor")
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise DataError(f"{file}: an image is (H, W) or (H, W, 3), got {tuple(array.shape)}", fix="tensors are (3, H, W), arrays (H, W, 3)")
    channels = torch.as_tensor(np.ascontiguousarray(array[:, :, :3].transpose(2, 0, 1)))
    if channels.dtype != torch.uint8:
        if not channels.is_floating_point():
            raise DataError(f"{file}: an image of {array.dtype} numbers", fix="bytes, or floating-point numbers where 1 is white")
        channels = channels.float()
        if channels.numel() and not 0 <= (largest := float(channels.max())) <= BRIGHTEST:
            fix = "bytes, or floating-point numbers where 1 is white"
            raise DataError(f"{file}: an image of floating-point numbers up to {largest:g}", fix=fix)
    return channels.expand(3, -1, -1).contiguous() if len(channels) == 1 else channels


def label_array(value: Any, *, file: str) -> NDArray[Any]:
    """A label as it is stored: (H, W) or (H, W, channels), palette images give their indices; or a field: a number, text, a list of them.

    Args:
        value: A PIL image, an array, or a tensor (H, W) or (channels, H, W); or a field.
        file: What it is called in messages.
    Raises:
        DataError: Something else.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
        value = np.moveaxis(value, 0, 2) if value.ndim == 3 else value
    array: NDArray[Any] = np.asarray(value)
    if array.dtype.kind not in "buif" and not (array.dtype.kind == "U" and array.ndim <= 1):
        raise DataError(f"{file}: neither an image nor numbers, but {type(value).__name__}", fix="a PIL image, an array or a tensor")
    return array
