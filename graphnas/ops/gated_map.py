"""``gate * W y``: a linear map of the channels of a value, a convolution or the same map at every position, scaled by a gate.

It is computed as ``(gate W) y``: the weight is smaller than the value. Where W is frozen and the gate is not (the alpha half of an
alternation), plain autograd would still compute the whole gradient of ``gate W``, as large a product as the map itself, to make one number
of it. With u = W^T dz of the gradient dz of the result, which the gradient of y needs anyway,

    dy = gate u        d gate = <u, y>

so that product is saved. An image that lies channels last is a matrix of all its pixels, and a kernel of 1 one product with it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def gated_map(y: Tensor, weight: Tensor, gate: Tensor | float, *, spatial: bool) -> Tensor:
    """``gate * W y``.

    Args:
        y: (N, C, H, W) if ``spatial``, else channels last: (N, L, C) or (N, C).
        weight: (D, C), or (D, C, k, k) with k odd, for images.
        gate: A scalar, or of one element.
        spatial: Whether the values are images.
    Returns:
        The same shape with D channels.
    """
    if isinstance(gate, Tensor) and gate.requires_grad and not weight.requires_grad and torch.is_grad_enabled():
        return _GateAlone.apply(y, weight, gate, spatial)
    return _map(y, gate * weight, spatial)


class _GateAlone(torch.autograd.Function):
    """The map with the gradients of value and gate."""

    @staticmethod
    def forward(y: Tensor, weight: Tensor, gate: Tensor, spatial: bool) -> Tensor:
        return _map(y, gate * weight, spatial)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        y, weight, gate, ctx.spatial = inputs
        ctx.save_for_backward(y, weight, gate)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y, weight, gate = ctx.saved_tensors
        u = _map(gradient, _transposed(weight.to(gradient.dtype)), ctx.spatial).to(y.dtype)
        of_gate = (u * y).sum(dtype=gate.dtype).reshape(gate.shape)
        return (gate * u).to(y.dtype) if ctx.needs_input_grad[0] else None, None, of_gate, None


def _map(y: Tensor, weight: Tensor, spatial: bool) -> Tensor:
    if not spatial:
        return F.linear(y, weight)
    if weight.dim() == 4:
        return F.conv2d(y, weight, padding=weight.shape[-1] // 2)
    if y.is_contiguous(memory_format=torch.channels_last):
        return F.linear(y.movedim(1, -1), weight).movedim(-1, 1)
    return F.conv2d(y, weight[:, :, None, None])


def _transposed(weight: Tensor) -> Tensor:
    """The weight of the adjoint map."""
    swapped = weight.transpose(0, 1)
    return swapped if weight.dim() == 2 else swapped.flip(2, 3)
