"""Small networks and search spaces that several packages' tests build."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphnas as gn
from graphnas.spec import parse_spec

IMAGE = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
INTO: dict[str, Any] = {"direction": "auxiliary -> primary", "converges_to": "zero"}
OUT: dict[str, Any] = {"direction": "primary -> auxiliary", "converges_to": "free"}


def image(*shape: int) -> Tensor:
    """Always the same random numbers for a shape."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def conv(inputs: int = 3, outputs: int = 4) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def space(*rules: dict[str, Any], **more: Any) -> gn.SearchSpaceSpec:
    """A search space; a rule without operations has ``conv1x1``."""
    return parse_spec({"kind": "search_space", "links": [{"operations": ["conv1x1"], **rule} for rule in rules], **more})


def randomize(net: gn.Supernet, seed: int = 1) -> gn.Supernet:
    """Random link weights, alphas and norms: zero-initialized links hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.startswith("joints."):
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
        for name, buffer in net.named_buffers():
            if name.startswith("joints.") and name.endswith("running_mean"):
                buffer.add_(torch.randn(buffer.shape, generator=generator, dtype=buffer.dtype))
    return net


class Chain(nn.Module):
    """Two stages of convolutions, the first followed by a ReLU, and a head."""

    def __init__(self, width: int = 4, inplace: bool = False) -> None:
        super().__init__()
        self.a = conv(3, width)
        self.act = nn.ReLU(inplace=inplace)
        self.b = conv(width, width)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.b(self.act(self.a(image))))


CHAIN_TAPS = {"s1": "a", "s2": "b"}


def chain(width: int = 4, taps: Any = None, inplace: bool = False) -> gn.Branch:
    return gn.Branch.from_module(Chain(width, inplace), taps=CHAIN_TAPS if taps is None else taps, example=IMAGE)


class RandomDag(nn.Module):
    """A random network: blocks that read one or two values made before, with everything that goes wrong easily.

    Some change what they read in place, as a module or as a function, wholly or in part; some read sizes and flags.
    """

    KINDS = ("conv", "norm", "act", "inplace", "drop", "relu_", "part", "size")

    def __init__(self, seed: int, blocks: int, width: int = 4) -> None:
        super().__init__()
        choose = random.Random(seed)
        self.stem = nn.Conv2d(3, width, 1)
        self.blocks = nn.ModuleList()
        self.reads: list[tuple[int, ...]] = []
        self.kinds: list[str] = []
        for i in range(blocks):
            kind = choose.choice(self.KINDS)
            made = {
                "conv": nn.Conv2d(width, width, 3, padding=1),
                "norm": nn.BatchNorm2d(width),
                "act": nn.Tanh(),
                "inplace": nn.ReLU(inplace=True),
            }
            self.blocks.append(made.get(kind, nn.Conv2d(width, width, 1)))
            self.kinds.append(kind)
            self.reads.append(tuple(choose.randrange(i + 1) for _ in range(choose.choice([1, 1, 2]))))
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        values = [self.stem(image)]
        for block, reads, kind in zip(self.blocks, self.reads, self.kinds, strict=True):
            read = values[reads[0]] if len(reads) == 1 else values[reads[0]] + values[reads[1]]
            values.append(_after(kind, block(read), self.training))
        return self.head(values[-1] + values[0])


def _after(kind: str, value: Tensor, training: bool) -> Tensor:
    match kind:
        case "drop":
            return F.dropout(value, 0.5, training)
        case "relu_":
            value.relu_()
        case "part":
            value[:, 0] = 0
            value[:, 1].add_(1)
        case "size":
            n, c, h, w = value.shape
            return value.reshape(n, c, h * w).flip(-1).view(n, c, h, w)
        case _:
            pass
    return value


def state_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Copies of all parameters and buffers, to compare with later."""
    return [tensor.detach().clone() for module in modules for tensor in module.state_dict().values()]
