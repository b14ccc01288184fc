"""``vgg_encoder``: the convolutions of a VGG (arXiv:1409.1556), with DeepLab's holes and pools (arXiv:1412.7062) if wanted.

Libraries have VGG at one resolution only, and with its 120 million parameters of classification layers. This is the rest of it, under the
same keys (``features.0.weight``, ...), so published weights fit strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torchvision  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor, nn

from graphnas.graph.types import Image, ValueType
from graphnas.ops.base import Statistics, TypeRuleError
from graphnas.ops.opaque import Opaque
from graphnas.ops.rules import one
from graphnas.schema import Flag

_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # layers in all -> of each stage
_WIDTHS = (64, 128, 256, 512, 512)


class VggEncoder(Opaque):
    """image[3, H, W] -> image[512, H', W']: five stages of 3x3 convolutions, each ended by a max pool; keys are torchvision's and timm's.

    Once the output stride is reached, pools keep the resolution (3x3, stride 1), and convolutions after them are dilated instead.
    """

    op: Literal["vgg_encoder"] = "vgg_encoder"
    depth: Literal[11, 13, 16, 19] = 16
    """Layers with weights, VGG-16's 16 among them; 3 are the classification's and left out."""
    batch_norm: Flag = True
    """Whether a batch norm follows every convolution."""
    output_stride: Literal[8, 16, 32] = 32
    """Pixels of the image for one of the result; VGG's own is 32, DeepLab's 8."""
    pool_size: Literal[2, 3] = 2
    """Pixels, high and wide, of the pools that halve the resolution; VGG's own is 2, DeepLab's 3, with padding."""
    pretrained: Flag = False
    """Start from torchvision's published weights, which are downloaded once."""

    @property
    def label(self) -> str:
        return f"VGG-{self.depth}"

    def infer(self, inputs: Sequence[ValueType]) -> ValueType:
        value = one(self, inputs, Image)
        if value.channels != 3:
            raise TypeRuleError(f"{self.label} reads image[3, H, W], got {value}", fix="put a conv2d with out_channels: 3 before it")
        if self.pool_size == 2 and min(value.height, value.width) < self.output_stride:
            raise TypeRuleError(
                f"{value} has nothing left at a stride of {self.output_stride} pixels", fix="larger images, or pool_size: 3"
            )
        return super().infer(inputs)

    @property
    def image_statistics(self) -> frozenset[Statistics]:
        return frozenset({((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))})

    def module(self, *, pretrained: bool) -> nn.Module:
        made = Vgg(_CONVOLUTIONS[self.depth], self.output_stride, self.pool_size, batch_norm=self.batch_norm)
        if pretrained and self.pretrained:
            published: Any = torchvision.models
            weights = published.get_model_weights(f"vgg{self.depth}{'_bn' if self.batch_norm else ''}").DEFAULT
            state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
            made.load_state_dict({key: value for key, value in state.items() if key.startswith("features.")})
        return made


class Vgg(nn.Module):
    """(N, 3, H, W) -> (N, 512, H', W'); ``features`` is one sequence of all layers, the stages' pools included."""

    def __init__(self, convolutions: Sequence[int], output_stride: int, pool_size: int, *, batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width, stride, dilation = 3, 1, 1
        for count, out in zip(convolutions, _WIDTHS, strict=True):
            for _ in range(count):
                layers += _convolution(width, out, dilation, batch_norm=batch_norm)
                width = out
            if stride < output_stride:
                layers.append(nn.MaxPool2d(pool_size, 2, pool_size // 2 if pool_size % 2 else 0))
                stride *= 2
            else:
                layers.append(nn.MaxPool2d(3, 1, 1))
                dilation *= 2
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


def _convolution(width: int, out: int, dilation: int, *, batch_norm: bool) -> list[nn.Module]:
    conv = nn.Conv2d(width, out, 3, padding=dilation, dilation=dilation)
    assert conv.bias is not None
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(conv.bias)
    return [conv, *([nn.BatchNorm2d(out)] if batch_norm else []), nn.ReLU(inplace=True)]
