"""Single-task networks as a search by hand needs them: a stem, blocks that run one by one, and a head on some blocks' values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Tower(nn.Module):
    """A network that was cut into the parts that a search by hand calls one after another.

    Args:
        network: ``encoder`` and ``head``: own the parameters.
        blocks: The parts after which links may start and end, in order.
        stages: How many blocks each stage has.
        read: Indices of the blocks whose (fused) values the head reads.
    """

    def __init__(self, network: nn.ModuleDict, blocks: Sequence[nn.Module], stages: Sequence[int], read: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.blocks = list(blocks)  # no ModuleList: the network owns them
        self.stages = tuple(stages)
        self.read = tuple(read)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> the prediction of the network alone."""
        x = self.stem(image)
        values: list[Tensor] = []
        for block in self.blocks:
            x = block(x)
            values.append(x)
        return self.head([values[i] for i in self.read])

    def stem(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> what the first block reads."""
        raise NotImplementedError

    def head(self, values: Sequence[Tensor]) -> Tensor:
        """The values of the blocks in ``read`` -> the prediction."""
        return self.network["head"](*values)


class VisionTransformerTower(Tower):
    """timm's transformer of 12 blocks, and a head on the values of four of them."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        network = nn.ModuleDict({"encoder": encoder, "head": head})
        super().__init__(network, list(encoder.get_submodule("blocks").children()), [3, 3, 3, 3], [2, 5, 8, 11])

    def stem(self, image: Tensor) -> Tensor:
        encoder: Any = self.network["encoder"]
        x = encoder._pos_embed(encoder.patch_embed(image))
        return encoder.norm_pre(encoder.patch_drop(x))


class ResNetTower(Tower):
    """timm's ResNet, and a head on the ends of its stages."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        stages = [list(encoder.get_submodule(f"layer{i}").children()) for i in (1, 2, 3, 4)]
        sizes = [len(stage) for stage in stages]
        ends = [sum(sizes[: i + 1]) - 1 for i in range(4)]
        super().__init__(nn.ModuleDict({"encoder": encoder, "head": head}), [block for stage in stages for block in stage], sizes, ends)

    def stem(self, image: Tensor) -> Tensor:
        encoder: Any = self.network["encoder"]
        return encoder.maxpool(encoder.act1(encoder.bn1(encoder.conv1(image))))
