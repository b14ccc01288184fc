"""What a destination tap does with its own value and what arrives by links: one module, and so one node, a destination.

With x the destination's own value, y_j the sources', g the gates, o the operation on the own value (the identity, if there is none)::

    add      fused = activation(norm(o(x) + sum_j sum_k g_jk op_jk(y_j)))      Aux-NAS (arXiv:2405.05695), Eq. 3; with o NDDR-CNN
    add, on: links   fused = o(x) + activation(norm(sum_j sum_k g_jk op_jk(y_j)))
    mix      fused = (1 - sum g) o(x) + sum_j sum_k g_jk op_jk(y_j),   (1 - sum g, g) = softmax([0, alpha])
    replace  fused = op(y)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphnas.gates.base import GateFunction
from graphnas.graph.links import Link
from graphnas.graph.types import Image, Tokens, ValueType
from graphnas.ops.base import LinkModule, LinkOperation
from graphnas.spec.search_space import FusionSpec

Combine = Literal["add", "mix", "replace"]
_ACTIVATIONS = {"none": None, "relu": F.relu, "gelu": F.gelu, "silu": F.silu}


@dataclass(frozen=True)
class Candidates:
    """What a link may do: its operations' modules by name, and the gate of each.

    Args:
        link: The link.
        modules: Operation name -> module; ``None`` for one that carries nothing.
        gate: The gate function of its rule.
        source: The type of the value sent.
        channels_last: Whether it is an image that comes as (N, H, W, C).
    """

    link: Link
    modules: Mapping[str, LinkModule | None]
    gate: GateFunction
    source: ValueType
    channels_last: bool = False


class FusedLink(nn.Module):
    """The parameters of one link: candidate operations and alphas.

    ``alpha`` is (K,) for K candidates; it takes no part in ``replace``, which has none. Gates that are *settled* are the constants
    ``settled``, (K,), and there is no alpha.
    """

    id: str
    channels_last: bool
    names: tuple[str, ...]
    gate: GateFunction
    training_gate: GateFunction  # that of the step which is being taken
    settled: Tensor | None

    def __init__(self, candidates: Candidates, alpha: Tensor | None) -> None:
        super().__init__()
        vars(self).update(  # plain values, and many links: torch takes its time to find that each is no parameter, buffer or module
            id=candidates.link.id, channels_last=candidates.channels_last, names=tuple(candidates.modules), gate=candidates.gate,
            training_gate=candidates.gate.at(0.0),
        )  # fmt: skip
        for name, module in candidates.modules.items():
            if module is not None:
                self.add_module(name, module)
        self.alpha = None if alpha is None else nn.Parameter(alpha, requires_grad=candidates.gate.trainable)
        self.register_buffer("settled", None)

    @property
    def operations(self) -> dict[str, LinkModule]:
        """Operation name -> module, of those that carry something."""
        return {name: module for name, module in self._modules.items() if isinstance(module, LinkModule)}

    def arriving(self, source: Tensor, gates: Tensor | None, destination: Tensor) -> Iterator[Tensor]:
        """The terms that this link adds, images with channels first."""
        if self.channels_last:
            source = source.movedim(-1, 1)
        for k, name in enumerate(self.names):
            if (module := self._modules.get(name)) is not None:
                gate = 1.0 if gates is None else gates if len(self.names) == 1 else gates[k]
                yield module(source, gate, destination)

    def gates(self, *, training: bool) -> Tensor:
        """(K,) gates."""
        if self.settled is not None:
            return self.settled
        assert self.alpha is not None
        return self.training_gate(self.alpha, training=True) if training else self.gate(self.alpha, training=False)

    def settle(self, gates: Tensor, left: Sequence[str]) -> FusedLink:
        """The same link with constant gates (K,), and only these of its candidates; its operations are shared."""
        made = copy.copy(self)
        made._modules, made._parameters, made._buffers = dict(self._modules), dict(self._parameters), dict(self._buffers)
        for name in set(self.names) - set(left):
            made._modules.pop(name, None)
        made.alpha = None
        made.settled = gates.detach()[[self.names.index(name) for name in left]].clone()
        made.names = tuple(left)
        return made

    def carrying(self, values: Tensor) -> Tensor:
        """Of (K,) values those of the candidates that carry something."""
        kept = [k for k, name in enumerate(self.names) if name in self._modules]
        return values if len(kept) == len(self.names) else values[kept]

    def gains(self) -> Tensor:
        """(K,) gains of the operations' weights; 0 for one that carries nothing."""
        assert self.alpha is not None
        zero, operations = self.alpha.new_zeros(()), self.operations
        return torch.stack([operations[name].weight_norm() if name in operations else zero for name in self.names])


class Fusion(nn.Module):
    """The fusion of one destination tap.

    Args:
        combine: How what arrives joins the destination's own value.
        spec: Operation on the own value, norm and activation.
        incoming: The links, in the order in which their sources are given.
        destination: The type of the destination's value.
        channels_last: Whether that is an image that comes as (N, H, W, C).
        changed: Whether the branch goes on to change the value in place: it must then be a tensor that nothing else reads, gradients
            included.
    """

    share: Tensor | None

    def __init__(
        self,
        combine: Combine,
        spec: FusionSpec,
        incoming: Sequence[Candidates],
        destination: ValueType,
        *,
        channels_last: bool = False,
        changed: bool = False,
    ) -> None:
        super().__init__()
        self.combine: Combine = combine
        self.channels_last = channels_last
        self.changed = changed
        self.on = spec.on
        self.links = nn.ModuleList(FusedLink(candidates, _initial(combine, candidates, len(incoming))) for candidates in incoming)
        self.own = None if spec.own is None else _own(spec.own, destination)
        self.norm = _norm(spec, destination)
        self.activation = spec.activation
        self.closed: frozenset[str] = frozenset()  # ids of links whose gates are held at zero, whatever their alphas
        self.rounded: frozenset[str] = frozenset()  # ids of links whose gates are 0 or 1, whichever is nearer
        self.register_buffer("share", None)  # that of the own value in a mix whose gates are settled
        self.cut: frozenset[str] = frozenset()  # ids of links that are no longer given a source: see ``without``

    def forward(self, x: Tensor, *sources: Tensor) -> Tensor:
        """Fuse the destination's own value with the sources', in the order of ``running_links``."""
        own = x.movedim(-1, 1) if self.channels_last else x
        fused = self._fused(own, sources)
        saved = self.activation == "relu" and self.on == "sum"  # its gradient reads its result
        if self.changed and (saved or fused is own):
            fused = fused.clone()
        return fused.movedim(1, -1) if self.channels_last else fused

    def _fused(self, x: Tensor, sources: Sequence[Tensor]) -> Tensor:
        if self.combine == "replace":
            [term] = next(self.fused_links()).arriving(sources[0], None, x)
            return term
        if self.bare and all(link.id in self.closed for link in self.running_links()):
            return x
        share, gates = self._gates(training=self.training)
        if self.own is not None:
            x = self.own(x, 1.0, x)
        running = [(link, gate) for link, gate in zip(self.fused_links(), gates, strict=True) if link.id not in self.cut]
        incoming = ((link, source, gate) for (link, gate), source in zip(running, sources, strict=True))
        terms = (term for link, source, gate in incoming for term in link.arriving(source, gate, x))
        if self.on == "links":
            arrived = sum(terms, start=torch.zeros_like(x))
            return (x if share is None else share * x) + self._after(arrived)
        return self._after(sum(terms, start=x if share is None else share * x))

    def gates(self) -> dict[str, Tensor]:
        """Link id -> (K,) gates, without noise; empty for ``replace``."""
        if self.combine == "replace":
            return {}
        return {link.id: gate for link, gate in zip(self.fused_links(), self._gates(training=False)[1], strict=True)}

    def fused_links(self) -> Iterator[FusedLink]:
        for link in self.links:
            assert isinstance(link, FusedLink)
            yield link

    def running_links(self) -> Iterator[FusedLink]:
        """Those that are given a source."""
        return (link for link in self.fused_links() if link.id not in self.cut)

    def _gates(self, *, training: bool) -> tuple[Tensor | None, list[Tensor]]:
        """The share of x (``None``: all of it), and the gates of each link."""
        links, closed = list(self.fused_links()), self.closed | self.cut
        if self.combine == "add":
            return None, [self._gate(link, closed, training=training) for link in links]
        if self.share is not None or not links:
            return self.share, [link.gates(training=False) for link in links]
        alphas = [torch.full_like(link.alpha, -math.inf) if link.id in closed else link.alpha for link in links if link.alpha is not None]
        shares = torch.cat([alphas[0].new_zeros(1), *alphas]).softmax(0)
        return shares[0], list(torch.split(shares[1:], [len(alpha) for alpha in alphas]))

    def _gate(self, link: FusedLink, closed: Collection[str], *, training: bool) -> Tensor:
        """The gates of one link that is added."""
        rounded = None if link.alpha is None or link.id not in self.rounded else link.gate.rounded(link.alpha)
        gates = link.gates(training=training) if rounded is None else rounded
        return torch.zeros_like(gates) if link.id in closed else gates

    def rounding(self, ids: Collection[str]) -> Fusion:
        """The same fusion with the gates of these links at 0 or 1, sharing all parameters."""
        made = copy.copy(self)
        made._modules = dict(self._modules)
        made.rounded = self.rounded | frozenset(ids)
        return made

    def settle(self, left: Mapping[str, Sequence[str]]) -> Fusion:
        """The same fusion with its gates as they are, as constants.

        Args:
            left: Link id -> the candidates that it keeps.
        """
        share, gates = self._gates(training=False)
        made = copy.copy(self)
        made._modules, made._buffers = dict(self._modules), dict(self._buffers)
        made.links = nn.ModuleList(link.settle(gate, left[link.id]) for link, gate in zip(self.fused_links(), gates, strict=True))
        made.share = None if share is None else share.detach().clone()
        return made

    def keeping(self, ids: Collection[str]) -> Fusion:
        """The same fusion with these links alone, sharing their parameters and the norm."""
        made = copy.copy(self)
        made._modules = dict(self._modules)
        made.links = nn.ModuleList(link for link in self.fused_links() if link.id in ids)
        made.cut = frozenset()
        return made

    def without(self, ids: Collection[str]) -> Fusion:
        """The same fusion, which is given no source for these links: their gates are zero, their parameters stay where they are."""
        made = copy.copy(self)
        made._modules = dict(self._modules)
        made.cut = self.cut | frozenset(ids)
        return made

    def whole(self) -> Fusion:
        """The same fusion, which is given a source for every link again."""
        made = self.without(())
        made.cut = frozenset()
        return made

    @property
    def bare(self) -> bool:
        """Whether nothing is left of it once no link arrives: nothing acts on the destination's own value."""
        return self.own is None and (self.on == "links" or (self.norm is None and self.activation == "none"))

    def _after(self, x: Tensor) -> Tensor:
        if self.norm is not None:
            x = _normalized(self.norm, x)
        activation = _ACTIVATIONS[self.activation]
        return x if activation is None else activation(x)


def _initial(combine: Combine, candidates: Candidates, links: int) -> Tensor | None:
    """The alphas at which a link's gates have their initial value; with ``mix`` that is the share of all links together."""
    count = len(candidates.modules)
    if combine == "replace":
        return None
    if combine == "add":
        return torch.full((count,), float(candidates.gate.inverse(candidates.gate.initial, count)))
    share = candidates.gate.initial
    return torch.full((count,), math.log(share / (links * count)) - math.log(1 - share))


def _own(operation: LinkOperation, destination: ValueType) -> LinkModule:
    module = operation.build(destination, destination)
    assert module is not None, "refused by the spec"
    return module


def _norm(spec: FusionSpec, destination: ValueType) -> nn.Module | None:
    """Batch norm acts a channel at a time over the batch and all positions, layer norm over the channels of each position."""
    width = destination.channels if isinstance(destination, Image) else destination.shape[-1]
    norm = spec.norm
    if norm.type == "none":
        return None
    if norm.type == "layer_norm":
        return nn.LayerNorm(width, eps=norm.eps)
    kind = nn.BatchNorm2d if isinstance(destination, Image) else nn.BatchNorm1d
    return kind(width, eps=norm.eps, momentum=norm.momentum)


def _normalized(norm: nn.Module, x: Tensor) -> Tensor:
    if isinstance(norm, nn.LayerNorm):
        return norm(x.movedim(1, -1)).movedim(-1, 1) if x.dim() == 4 else norm(x)
    return norm(x.flatten(0, 1)).view_as(x) if x.dim() == 3 else norm(x)


def reads_destination(combine: Combine, source: ValueType, destination: ValueType) -> bool:
    """Whether the fusion reads the destination's own value: for ``replace`` only where its size is needed to adapt to."""
    if combine != "replace":
        return True
    if isinstance(source, Image) and isinstance(destination, Image):
        return source.shape[1:] != destination.shape[1:]
    return not (isinstance(source, Tokens) and isinstance(destination, Tokens) and source.length == destination.length)
