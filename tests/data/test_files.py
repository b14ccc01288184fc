"""What is read becomes an input of three channels, or a label as it is stored."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from graphnas.data.files import decode, image_tensor, label_array
from graphnas.errors import DataError

COLORS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def encoded(image: Image.Image, kind: str = "png") -> Any:
    stream = io.BytesIO()
    image.save(stream, kind)
    return decode(stream.getvalue(), kind, file="f")


def test_color_images() -> None:
    expected = torch.as_tensor(COLORS).permute(2, 0, 1)
    opaque = np.concatenate([COLORS, np.full((2, 4, 1), 255, np.uint8)], axis=2)
    for value in (encoded(Image.fromarray(COLORS)), encoded(Image.fromarray(opaque)), COLORS, expected):
        tensor = image_tensor(value, file="f")
        assert tensor.dtype == torch.uint8
        assert torch.equal(tensor, expected)
        assert tensor.is_contiguous()


def test_gray_images_and_floats() -> None:
    gray = image_tensor(encoded(Image.fromarray(COLORS[:, :, 0])), file="f")
    assert torch.equal(gray, torch.as_tensor(COLORS[:, :, 0]).expand(3, 2, 4))
    assert image_tensor(torch.rand(3, 2, 4, dtype=torch.float64), file="f").dtype == torch.float32
    assert image_tensor(torch.rand(2, 4), file="f").shape == (3, 2, 4)


def test_labels_are_what_is_stored() -> None:
    palette = Image.fromarray(np.array([[0, 3], [2, 255]], np.uint8), "L").convert("P")
    palette.putpalette([9, 8, 7] * 256)
    assert label_array(encoded(palette), file="f").tolist() == [[0, 3], [2, 255]]
    millimetres = np.array([[0, 40_000]], np.uint16)
    assert label_array(encoded(Image.fromarray(millimetres)), file="f").tolist() == [[0, 40_000]]
    metres = np.array([[0.5, 2.0]])
    stream = io.BytesIO()
    np.save(stream, metres)
    assert_close(label_array(decode(stream.getvalue(), "NPY", file="f"), file="f"), metres)
    assert label_array(torch.zeros(3, 2, 4), file="f").shape == (2, 4, 3)
    assert label_array(torch.zeros(2, 4), file="f").shape == (2, 4)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Image.fromarray(np.zeros((2, 2), np.uint16)), "f: an image of PIL's mode I;16 is no color image\n  fix: 8 bits a channel"),
        (torch.zeros(3, 2, 2).long(), "f: an image of int64 numbers\n  fix: bytes, or floating-point numbers where 1 is white"),
        (np.zeros((3, 2, 2)), "f: an image is (H, W) or (H, W, 3), got (3, 2, 2)\n  fix: tensors are (3, H, W), arrays (H, W, 3)"),
        ("text", "f: neither an image nor numbers, but str\n  fix: a PIL image, an array or a tensor"),
    ],
)
def test_what_is_no_image(value: Any, message: str) -> None:
    with pytest.raises(DataError) as raised:
        image_tensor(value, file="f")
    assert str(raised.value) == message
