"""``dpt_head``: reassembles the tokens of a vision transformer into a dense prediction (arXiv:2103.13413).

With w channels, K token values and a patch grid of R x C (K = 4 is the paper's):
    level i        = project_i (1x1), then to 2^(K-2-i) times the grid: transposed convolution, nothing, or a 3x3 convolution of stride 2
    fused_K-1      = out(unit(level_K-1))
    fused_i        = out(unit(resize(fused_i+1) + unit(level_i)))        unit(x) = x + conv(relu(conv(relu(x))))
    prediction     = predict(relu(conv2(resize(conv1(fused_0)))))        at patch_size times the grid
Unlike the paper all levels have one width, and resizing keeps no corners aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from graphnas.graph.types import Image, Tokens, ValueType
from graphnas.ops.base import Operation
from graphnas.ops.grid import image_of, resize
from graphnas.ops.levels import grid_of, level_size, powers, token_values
from graphnas.schema import PositiveInt


class DptHead(Operation):
    """K token values of a vision transformer, early to late -> image[out_channels, H, W], ``patch_size`` times their patch grid.

    At other image sizes than the network was built for, tokens tell their grid only if the proportions stay; one more input at the end, an
    image of those proportions (the network's own input), tells it for any.
    """

    op: Literal["dpt_head"] = "dpt_head"
    out_channels: PositiveInt = Field(examples=[3])
    """Channels of the prediction."""
    channels: PositiveInt = 256
    """Width of the head."""
    patch_size: PositiveInt = 16
    """How many times as high and wide as the patch grid the prediction is: the encoder's patch size makes it the image's size."""

    def infer(self, inputs: Sequence[ValueType]) -> Image:
        rows, columns = grid_of(token_values(self, inputs)[0])
        return Image(self.out_channels, rows * self.patch_size, columns * self.patch_size)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        taps, w = token_values(self, inputs), self.channels
        half, last = _head_widths(w)
        total = 0
        sizes = [level_size(grid_of(tap), k) for tap, k in zip(taps, powers(len(taps)), strict=True)]
        for tap, k, (rows, columns) in zip(taps, powers(len(taps)), sizes, strict=True):
            pixels, patches = rows * columns, grid_of(tap)[0] * grid_of(tap)[1]
            resampled = pixels * w * w * (0 if k == 0 else 1 if k > 0 else 9)
            units = 1 if k == powers(len(taps))[-1] else 2
            total += patches * tap.width * w + resampled + pixels * w * w * (18 * units + 1)
        image = self.infer(inputs)
        finest = sizes[0][0] * sizes[0][1]
        return total + finest * 9 * w * half + image.height * image.width * (9 * half * last + last * self.out_channels)

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        taps, w = token_values(self, inputs), self.channels
        half, last = _head_widths(w)
        resampling = sum(0 if k == 0 else w * (w * (4**k if k > 0 else 9) + 1) for k in powers(len(taps)))
        units = (2 * len(taps) - 1) * 2 * w * (9 * w + 1)
        out = len(taps) * w * (w + 1)
        head = half * (9 * w + 1) + last * (9 * half + 1) + self.out_channels * (last + 1)
        return sum(w * (tap.width + 1) for tap in taps) + resampling + units + out + head

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return DensePrediction(token_values(self, inputs), self.channels, self.out_channels, self.patch_size)


class DensePrediction(nn.Module):
    """K tensors (N, L, D_i) and, if wanted, an image (N, C, H, W) -> (N, out, H', W')."""

    def __init__(self, taps: Sequence[Tokens], width: int, out: int, patch_size: int) -> None:
        super().__init__()
        self.taps, self.patch_size = tuple(taps), patch_size
        half, last = _head_widths(width)
        self.project = nn.ModuleList(nn.Conv2d(tap.width, width, 1) for tap in taps)
        self.resample = nn.ModuleList(_resampling(width, k) for k in powers(len(taps)))
        self.fuse = nn.ModuleList(Fusion(width, coarsest=i == len(taps) - 1) for i in range(len(taps)))
        self.conv1 = nn.Conv2d(width, half, 3, padding=1)
        self.conv2 = nn.Conv2d(half, last, 3, padding=1)
        self.predict = nn.Conv2d(last, out, 1)

    def forward(self, *values: Tensor) -> Tensor:
        like = values[-1] if len(values) > len(self.taps) else None
        images = [image_of(x, tap, like) for x, tap in zip(values, self.taps, strict=False)]
        x: Tensor | None = None
        for image, project, resample, fuse in reversed(list(zip(images, self.project, self.resample, self.fuse, strict=True))):
            x = fuse(resample(project(image)), x)
        assert x is not None
        rows, columns = images[0].shape[2], images[0].shape[3]
        x = resize(self.conv1(x), (rows * self.patch_size, columns * self.patch_size))
        return self.predict(F.relu(self.conv2(x)))


class Fusion(nn.Module):
    """A level (N, w, H, W) and what comes from the coarser ones -> (N, w, H, W)."""

    def __init__(self, width: int, *, coarsest: bool) -> None:
        super().__init__()
        self.lateral = None if coarsest else ResidualUnit(width)
        self.refine = ResidualUnit(width)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, level: Tensor, coarser: Tensor | None) -> Tensor:
        if self.lateral is not None and coarser is not None:
            level = resize(coarser, (level.shape[2], level.shape[3])) + self.lateral(level)
        return self.out(self.refine(level))


class ResidualUnit(nn.Module):
    """x + conv2(relu(conv1(relu(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


def _resampling(width: int, power: int) -> nn.Module:
    if power == 0:
        return nn.Identity()
    return nn.ConvTranspose2d(width, width, 2**power, 2**power) if power > 0 else nn.Conv2d(width, width, 3, stride=2, padding=1)


def _head_widths(width: int) -> tuple[int, int]:
    half = max(width // 2, 1)
    return half, min(half, 32)
