"""Operations at image sizes other than those that their types were bound to, as when training crops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from graphnas.graph.types import Image, Tokens
from graphnas.ops.grid import as_ordered, exact_grid, grid_like, image_of, row_by_row, scaled_grid
from tests.ops.test_contract import build


def test_fpn_head_follows_its_inputs() -> None:
    types = [Image(4, 16, 12), Image(8, 8, 6)]
    module = build("fpn_head", {"out_channels": 3, "channels": 8, "scale": 4}).build(types)
    assert module(torch.randn(2, 4, 10, 14), torch.randn(2, 8, 5, 7)).shape == (2, 3, 40, 56)
    assert module(torch.randn(2, 4, 9, 13), torch.randn(2, 8, 5, 7)).shape == (2, 3, 36, 52)


def test_fpn_head_does_not_mind_the_order_of_its_inputs() -> None:
    types = [Image(4, 16, 12), Image(4, 8, 6)]
    head = build("fpn_head", {"out_channels": 3, "channels": 8})
    forwards, backwards = head.build(types).eval(), head.build(types[::-1]).eval()
    swapped = {"lateral.0.": "lateral.1.", "lateral.1.": "lateral.0."}
    weights = forwards.state_dict()
    backwards.load_state_dict({swapped.get(key[:10], key[:10]) + key[10:]: value for key, value in weights.items()})
    fine, coarse = torch.randn(2, 4, 16, 12), torch.randn(2, 4, 8, 6)
    assert torch.equal(forwards(fine, coarse), backwards(coarse, fine))


def test_dpt_head_takes_the_grid_from_an_image() -> None:
    taps = [Tokens(49, 8, 1, (8, 6))] * 2
    fields: dict[str, Any] = {"out_channels": 1, "channels": 4, "patch_size": 8}
    module = build("dpt_head", fields).build([*taps, Image(3, 64, 48)])
    image, tokens = torch.randn(2, 3, 40, 56), torch.randn(2, 36, 8)  # 5 x 7 patches
    assert module(tokens, tokens, image).shape == (2, 1, 40, 56)
    without = build("dpt_head", fields).build(taps)
    with pytest.raises(ValueError, match=r"^35 patches are no grid of 4 : 3, the proportions that the network was built for$"):
        without(tokens, tokens)
    larger = torch.randn(2, 1 + 16 * 12, 8)
    assert without(larger, larger).shape == (2, 1, 128, 96)


def test_to_image_takes_the_grid_from_an_image() -> None:
    module = build("to_image", {}).build([Tokens(48, 4, 0, (8, 6)), Image(3, 64, 48)])
    x = torch.randn(2, 35, 4)
    assert_close(module(x, torch.randn(2, 3, 40, 56)), x.transpose(1, 2).reshape(2, 4, 5, 7))


def test_position_embeddings_are_resized() -> None:
    module = build("patch_embed", {"width": 4, "patch_size": 4, "class_token": True}).build([Image(3, 16, 8)])
    assert module(torch.randn(2, 3, 16, 8)).shape == (2, 9, 4)
    assert module(torch.randn(2, 3, 8, 24)).shape == (2, 13, 4)


def test_upsample_to_another_value() -> None:
    module = build("upsample", {}).build([Image(2, 4, 4), Image(5, 8, 8)])
    assert module(torch.randn(2, 2, 3, 3), torch.randn(2, 5, 7, 9)).shape == (2, 2, 7, 9)


@pytest.mark.parametrize(
    ("patches", "grid", "expected"), [(48, (8, 6), (8, 6)), (12, (8, 6), (4, 3)), (108, (8, 6), (12, 9)), (4, (14, 14), (2, 2))]
)
def test_exact_grid(patches: int, grid: tuple[int, int], expected: tuple[int, int]) -> None:
    assert exact_grid(patches, grid) == expected


@pytest.mark.parametrize(
    ("patches", "size", "expected"),
    [(35, (40, 56), (5, 7)), (35, (3, 4), (5, 7)), (48, (64, 48), (8, 6)), (48, (48, 64), (6, 8))],
)
def test_grid_like(patches: int, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert grid_like(patches, *size) == expected


@pytest.mark.parametrize(
    ("patches", "grid", "built", "now", "expected"),
    [
        (12, (3, 4), (2, 2), (2, 2), (3, 4)),  # as built, though 2 : 2 says nothing
        (12, (4, 3), (2, 2), (2, 2), (4, 3)),
        (48, (3, 4), (2, 2), (4, 4), (6, 8)),
        (96, (8, 12), (2, 3), (3, 2), (12, 8)),
    ],
)
def test_scaled_grid(patches: int, grid: tuple[int, int], built: tuple[int, int], now: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scaled_grid(patches, grid, built, now) == expected


def test_an_order_is_known_for_one_number_of_patches() -> None:
    of = Tokens(4, 1, 0, (2, 2), (3, 1, 0, 2))
    x = torch.tensor([10.0, 11, 12, 13])[None, :, None]
    assert image_of(x, of).flatten().tolist() == [13, 11, 10, 12]
    assert torch.equal(as_ordered(row_by_row(x, of), of), x)
    with pytest.raises(ValueError, match=r"^16 patches, whose order is known for 4 only: this network works at one image size$"):
        image_of(torch.zeros(1, 16, 1), of)


def test_patches_of_another_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^7 patches are no grid of 1 : 1, the proportions of the image beside them$"):
        grid_like(7, 1, 1)
