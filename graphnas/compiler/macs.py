"""Multiply-accumulates of a module, by torch's own flop counter (1 MAC = 2 FLOPs)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_macs(module: nn.Module, example: Mapping[str, Tensor]) -> int:
    """Multiply-accumulates for one sample of these inputs, in the mode that the module is in.

    Args:
        module: Any module; runs once.
        example: Its forward's arguments by name, batch first; the first sample is used.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):  # it has no formula for the fused attention of CPUs
        module(**{name: value[:1] for name, value in example.items()})
    return counter.get_total_flops() // 2
