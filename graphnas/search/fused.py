"""Adam, AdamW and SGD for torch's fused kernels on the CPU, whatever the memory format of parameters and gradients.

Those kernels go through memory as it lies. For a parameter that is not contiguous (channels last) torch (2.14) copies, at several times the
cost of the update; and where a gradient lies in another order than its parameter, the result is wrong. Here Adam's kernel is given the
same memory as contiguous tensors of permuted sizes: an update of every element for itself, which the order of dimensions does not change.
SGD takes contiguous parameters alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def is_dense(parameter: Tensor) -> bool:
    """Whether its elements fill their memory, in whatever order."""
    return parameter.permute(_order(parameter)).is_contiguous()


class Adam(torch.optim.Adam):
    """torch's."""

    def _init_group(
        self, group: dict[str, Any], params_with_grad: list[Tensor], grads: list[Tensor], exp_avgs: list[Tensor],
        exp_avg_sqs: list[Tensor], max_exp_avg_sqs: list[Tensor], state_steps: list[Tensor],
    ) -> bool:  # fmt: skip
        """What torch collects for the kernel, as contiguous tensors."""
        of_complex = super()._init_group(group, params_with_grad, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps)  # pyright: ignore[reportUnknownMemberType]
        _made_contiguous(params_with_grad, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs)
        return of_complex


class AdamW(Adam, torch.optim.AdamW):
    """torch's."""


class SGD(torch.optim.SGD):
    """torch's, for contiguous parameters."""

    def _init_group(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], momentum_buffer_list: list[Tensor | None]
    ) -> bool:
        """What torch collects for the kernel; it remembers buffers by these very parameters."""
        sparse = super()._init_group(group, params, grads, momentum_buffer_list)  # pyright: ignore[reportUnknownMemberType]
        grads[:] = [gradient.contiguous() for gradient in grads]
        return sparse


def _made_contiguous(parameters: list[Tensor], gradients: list[Tensor], *moments: list[Tensor]) -> None:
    for index, parameter in enumerate(parameters):
        if parameter.is_contiguous() and gradients[index].is_contiguous():
            continue
        order = _order(parameter)
        parameters[index] = parameter.detach().permute(order)
        gradients[index] = gradients[index].permute(order).contiguous()
        for moment in moments:
            if moment:  # not amsgrad's without amsgrad
                moment[index] = moment[index].permute(order)
                assert moment[index].is_contiguous(), "made like the parameter, and restored like it"


def _order(tensor: Tensor) -> list[int]:
    """Its dimensions from the one with the largest stride to that with the smallest."""
    return sorted(range(tensor.dim()), key=lambda dim: (-tensor.stride(dim), dim))
