"""``reassemble_head``: the dense head of the Aux-NAS authors over a vision transformer (arXiv:2405.05695), a plain form of DPT's.

With w channels, K token values and a patch grid of R x C (K = 4 and patches of 16 pixels are the authors'):
    level i        = project_i (1x1), then to 2^(K-2-i) times the grid: transposed convolution, nothing, or a 2x2 convolution of stride 2
    fused_K-1      = conv2(conv1(level_K-1))                               each a 3x3 convolution; no activation in between
    fused_i        = conv2(conv1(level_i) + resize(fused_i+1))
    prediction     = predict(relu(conv2(resize(conv1(resize(fused_0))))))  first to twice level 0, then to patch_size times the grid
Resizing is bilinear with corners aligned. ``dpt_head`` has residual units where this has plain convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from graphnas.graph.types import Image, Tokens, ValueType
from graphnas.ops.base import Operation
from graphnas.ops.grid import image_of
from graphnas.ops.levels import grid_of, level_size, powers, token_values
from graphnas.schema import PositiveInt

_LAST = 32  # channels before the prediction


class ReassembleHead(Operation):
    """K token values of a vision transformer, early to late -> image[out_channels, H, W], ``patch_size`` times their patch grid.

    At other image sizes than the network was built for, tokens tell their grid only if the proportions stay; one more input at the end, an
    image of those proportions (the network's own input), tells it for any. Class and register tokens are dropped.
    """

    op: Literal["reassemble_head"] = "reassemble_head"
    out_channels: PositiveInt = Field(examples=[3])
    """Channels of the prediction."""
    channels: PositiveInt = 192
    """Width of the head."""
    patch_size: PositiveInt = 16
    """How many times as high and wide as the patch grid the prediction is: the encoder's patch size makes it the image's size."""

    def infer(self, inputs: Sequence[ValueType]) -> Image:
        rows, columns = grid_of(token_values(self, inputs)[0])
        return Image(self.out_channels, rows * self.patch_size, columns * self.patch_size)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        taps, w = token_values(self, inputs), self.channels
        total, finest = 0, 0
        for tap, k in zip(taps, powers(len(taps)), strict=True):
            (rows, columns), (grid_rows, grid_columns) = level_size(grid_of(tap), k), grid_of(tap)
            finest = max(finest, rows * columns)
            resampled = 0 if k == 0 else 1 if k > 0 else 4
            total += grid_rows * grid_columns * tap.width * w + rows * columns * w * w * (resampled + 18)
        image = self.infer(inputs)
        last = image.height * image.width * _LAST * (9 * _half(w) + self.out_channels)
        return total + 4 * finest * 9 * w * _half(w) + last

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        taps, w = token_values(self, inputs), self.channels
        resampling = sum(0 if k == 0 else w * (w * 4 ** abs(k) + 1) for k in powers(len(taps)))
        fusion = len(taps) * 2 * w * (9 * w + 1)
        last = _half(w) * (9 * w + 1) + _LAST * (9 * _half(w) + 1) + self.out_channels * (_LAST + 1)
        return sum(w * (tap.width + 1) for tap in taps) + resampling + fusion + last

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return Reassembly(token_values(self, inputs), self.channels, self.out_channels, self.patch_size)


class Reassembly(nn.Module):
    """K tensors (N, L, D_i) and, if wanted, an image (N, C, H, W) -> (N, out, H', W')."""

    def __init__(self, taps: Sequence[Tokens], width: int, out: int, patch_size: int) -> None:
        super().__init__()
        self.taps, self.patch_size = tuple(taps), patch_size
        self.project = nn.ModuleList(nn.Conv2d(tap.width, width, 1) for tap in taps)
        self.resample = nn.ModuleList(_resampling(width, k) for k in powers(len(taps)))
        self.fuse = nn.ModuleList(PlainFusion(width) for _ in taps)
        self.conv1 = nn.Conv2d(width, _half(width), 3, padding=1)
        self.conv2 = nn.Conv2d(_half(width), _LAST, 3, padding=1)
        self.predict = nn.Conv2d(_LAST, out, 1)

    def forward(self, *values: Tensor) -> Tensor:
        like = values[-1] if len(values) > len(self.taps) else None
        images = [image_of(x, tap, like) for x, tap in zip(values, self.taps, strict=False)]
        rows, columns = images[0].shape[2], images[0].shape[3]
        levels = [resample(project(x)) for x, project, resample in zip(images, self.project, self.resample, strict=True)]
        coarser: Tensor | None = None
        for level, fuse in reversed(list(zip(levels, self.fuse, strict=True))):
            coarser = fuse(level, coarser)
        assert coarser is not None
        x = self.conv1(_aligned(coarser, (2 * coarser.shape[2], 2 * coarser.shape[3])))
        x = _aligned(x, (rows * self.patch_size, columns * self.patch_size))
        return self.predict(F.relu(self.conv2(x), inplace=True))


class PlainFusion(nn.Module):
    """A level (N, w, H, W) and what comes from the coarser ones -> (N, w, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, level: Tensor, coarser: Tensor | None) -> Tensor:
        x = self.conv1(level)
        return self.conv2(x if coarser is None else x + _aligned(coarser, (x.shape[2], x.shape[3])))


class Halving(nn.Module):
    """(N, w, H, W) -> (N, w, H / 2, W / 2): a 2x2 convolution of stride 2; an odd side gets zeros at its end first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        down, right = x.shape[2] % 2, x.shape[3] % 2
        return self.conv(F.pad(x, (0, right, 0, down)) if down or right else x)


def _resampling(width: int, power: int) -> nn.Module:
    if power == 0:
        return nn.Identity()
    return nn.ConvTranspose2d(width, width, 2**power, 2**power) if power > 0 else Halving(width)


def _aligned(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if (x.shape[2], x.shape[3]) == size else F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _half(width: int) -> int:
    return max(width // 2, 1)
