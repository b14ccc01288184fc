"""``reassemble_head`` is the authors' formula, at any patch grid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from graphnas.graph.types import Image, Tokens
from graphnas.ops.base import TypeRuleError
from tests.ops.test_contract import build

FIELDS: dict[str, Any] = {"out_channels": 3, "channels": 6}


def twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def test_formula() -> None:
    """Four levels at 4, 2, 1 and 1/2 times the grid, each fused by two convolutions and doubled, from the head's own weights."""
    tokens = [torch.randn(2, 1 + 4 * 6, 5) for _ in range(4)]
    head: Any = build("reassemble_head", FIELDS).build([Tokens(25, 5, 1, (4, 6))] * 4)
    images = [x[:, 1:].transpose(1, 2).reshape(2, 5, 4, 6) for x in tokens]
    projected = [F.conv2d(x, layer.weight, layer.bias) for x, layer in zip(images, head.project, strict=True)]
    levels = [
        F.conv_transpose2d(projected[0], head.resample[0].weight, head.resample[0].bias, stride=4),
        F.conv_transpose2d(projected[1], head.resample[1].weight, head.resample[1].bias, stride=2),
        projected[2],
        F.conv2d(projected[3], head.resample[3].conv.weight, head.resample[3].conv.bias, stride=2),
    ]
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    x = torch.zeros(())
    for level, fuse in reversed(list(zip(levels, head.fuse, strict=True))):
        x = twice(fuse.conv2(fuse.conv1(level) + x))
    expected = head.predict(F.relu(head.conv2(twice(head.conv1(x)))))
    assert expected.shape == (2, 3, 64, 96)
    assert_close(head(*tokens), expected)


@pytest.mark.parametrize(("grid", "size"), [((5, 7), (80, 112)), ((1, 1), (16, 16)), ((1, 6), (16, 96))])
def test_grids_that_do_not_halve(grid: tuple[int, int], size: tuple[int, int]) -> None:
    patches = Tokens(grid[0] * grid[1], 5, 0, grid)
    operation = build("reassemble_head", FIELDS)
    assert operation.infer([patches] * 4) == Image(3, *size)
    assert operation.build([patches] * 4)(*torch.randn(4, 2, patches.length, 5)).shape == (2, 3, *size)


def test_an_odd_side_is_padded_with_zeros() -> None:
    head = build("reassemble_head", FIELDS).build([Tokens(35, 5, 0, (5, 7))] * 4)
    halving: Any = head.get_submodule("resample.3")
    x = torch.randn(2, 6, 5, 7)
    wider = torch.zeros(2, 6, 6, 8)
    wider[:, :, :5, :7] = x
    assert torch.equal(halving(x), halving(wider))


def test_the_grid_comes_from_an_image() -> None:
    taps = [Tokens(49, 8, 1, (8, 6))] * 2
    fields = {**FIELDS, "patch_size": 8}
    tokens, image = torch.randn(2, 36, 8), torch.randn(2, 3, 40, 56)  # 5 x 7 patches
    assert build("reassemble_head", fields).build([*taps, Image(3, 64, 48)])(tokens, tokens, image).shape == (2, 3, 40, 56)
    with pytest.raises(ValueError, match=r"^35 patches are no grid of 4 : 3, the proportions that the network was built for$"):
        build("reassemble_head", fields).build(taps)(tokens, tokens)


def test_class_tokens_do_not_matter() -> None:
    head: nn.Module = build("reassemble_head", FIELDS).build([Tokens(25, 5, 1, (4, 6))] * 4)
    tokens = torch.randn(4, 2, 25, 5)
    other = tokens.clone()
    other[:, :, 0] += 1
    assert torch.equal(head(*tokens), head(*other))


def test_tokens_without_a_grid() -> None:
    with pytest.raises(TypeRuleError) as caught:
        build("reassemble_head", FIELDS).infer([Tokens(17, 8)])
    assert str(caught.value) == (
        "reassemble_head reads tokens that stand for the patches of an image; the grid of tokens[17, 8] is unknown"
    )
    assert caught.value.fix == "read patch tokens of images"
