"""Aux-NAS by hand (arXiv:2405.05695, section 3): two towers side by side, fused after every block, and an alternating search.

At block i a tower's value x_i becomes

    x_i + W [g_1 y_1, ..., g_m y_m]        y_1 .. y_m: the other tower's values of the same stage, at most two blocks back, i included

where W is a 1x1 convolution over the concatenated, gated feature maps, and g = sigmoid(alpha). Links read values from before any fusion of
that block. Tokens are laid out as images for the convolution, and back. An alpha step descends both losses and the penalty on one half of
the data by Adam on the alphas; a weight step both losses on the other half by Adam on the weights; each computes all gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.reference.towers import Tower

MAX_GAP = 2


class Arrivals(nn.Module):
    """Adds what arrives at one block: (own, gated values of the other tower) -> own + W [values].

    Args:
        width: Channels of a block's value.
        links: How many values arrive.
    """

    def __init__(self, width: int, links: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width * links, width, 1, bias=False)
        nn.init.zeros_(self.conv.weight)

    def forward(self, own: Tensor, arriving: Sequence[Tensor]) -> Tensor:
        tokens = own.dim() == 3
        images = [as_image(value) if tokens else value for value in (own, *arriving)]
        fused = self.conv(torch.cat(images[1:], dim=1)) + images[0]
        return fused.squeeze(-1).transpose(1, 2) if tokens else fused


def as_image(tokens: Tensor) -> Tensor:
    """(N, L, D) -> (N, D, L, 1)."""
    return tokens.transpose(1, 2).unsqueeze(-1)


class Supernet(nn.Module):
    """``net(image) -> (primary's prediction, auxiliary's prediction)``.

    Args:
        primary: The tower that is kept.
        auxiliary: Another of the same shape.
        widths: Channels of every block's value.
        gates: Gates of the links at the start: into the primary, into the auxiliary.
    """

    def __init__(self, primary: Tower, auxiliary: Tower, widths: Sequence[int], gates: tuple[float, float] = (0.001, 0.5)) -> None:
        super().__init__()
        self.primary, self.auxiliary = primary, auxiliary
        self.sources = sources(primary.stages)
        self.into_primary = nn.ModuleList(Arrivals(width, len(found)) for width, found in zip(widths, self.sources, strict=True))
        self.into_auxiliary = nn.ModuleList(Arrivals(width, len(found)) for width, found in zip(widths, self.sources, strict=True))
        start = torch.logit(torch.tensor(gates, dtype=torch.float64)).float()
        self.a2p = nn.Parameter(start[0] * torch.ones(len(widths), len(widths)))  # row: destination, column: source
        self.p2a = nn.Parameter(start[1] * torch.ones(len(widths), len(widths)))
        self.closed = False  # gates into the primary at zero: what is evaluated, and shipped

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        values = self.block_values(image)
        first, second = ([column[i] for i in self.primary.read] for column in values)
        return self.primary.head(first), self.auxiliary.head(second)

    def block_values(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The fused values of all blocks of both towers."""
        x, y = self.primary.stem(image), self.auxiliary.stem(image)
        xs, ys, fused_xs, fused_ys = [], [], [], []
        for i, found in enumerate(self.sources):
            x, y = self.primary.blocks[i](x), self.auxiliary.blocks[i](y)
            xs.append(x)
            ys.append(y)
            a2p, p2a = torch.sigmoid(self.a2p[i, found]), torch.sigmoid(self.p2a[i, found])
            if self.closed:
                a2p = torch.zeros_like(a2p)
            x, y = (
                self.into_primary[i](x, [a2p[k] * ys[j] for k, j in enumerate(found)]),
                self.into_auxiliary[i](y, [p2a[k] * xs[j] for k, j in enumerate(found)]),
            )
            fused_xs.append(x)
            fused_ys.append(y)
        return fused_xs, fused_ys

    def penalty(self, progress: float, strength: float = 1000.0, ramp: tuple[float, float] = (0.5, 0.8)) -> Tensor:
        """lambda(t) times the mean gate into the primary."""
        grown = min(max((progress - ramp[0]) / (ramp[1] - ramp[0]), 0.0), 1.0)
        gates = torch.cat([torch.sigmoid(self.a2p[i, found]) for i, found in enumerate(self.sources)])
        return strength * grown * gates.mean()

    def alphas(self) -> list[nn.Parameter]:
        return [self.a2p, self.p2a]

    def weights(self) -> list[nn.Parameter]:
        alphas = {id(alpha) for alpha in self.alphas()}
        return [parameter for parameter in self.parameters() if id(parameter) not in alphas]


def sources(stages: Sequence[int]) -> list[list[int]]:
    """For every block the blocks that links come from."""
    found: list[list[int]] = []
    first = 0
    for size in stages:
        found += [list(range(max(first, i - MAX_GAP), i + 1)) for i in range(first, first + size)]
        first += size
    return found


Losses = Callable[[Tensor, Tensor, tuple[Tensor, Tensor]], Tensor]


@dataclass(frozen=True)
class Search:
    """An alternating search.

    Args:
        net: What is trained.
        loss: (primary's prediction, auxiliary's prediction, labels) -> the weighted sum of both losses.
        weights: Optimizer of the weights.
        alphas: Optimizer of the alphas.
    """

    net: Supernet
    loss: Losses
    weights: torch.optim.Optimizer
    alphas: torch.optim.Optimizer

    def step(self, for_alphas: tuple[Tensor, tuple[Tensor, Tensor]], for_weights: tuple[Tensor, tuple[Tensor, Tensor]], t: float) -> float:
        """One update of the alphas, then one of the weights.

        Returns:
            The loss of the second.
        """
        image, labels = for_alphas
        self.alphas.zero_grad()
        first, second = self.net(image)
        (self.loss(first, second, labels) + self.net.penalty(t)).backward()
        self.alphas.step()
        image, labels = for_weights
        self.weights.zero_grad()
        first, second = self.net(image)
        loss = self.loss(first, second, labels)
        loss.backward()
        self.weights.step()
        return loss.item()
