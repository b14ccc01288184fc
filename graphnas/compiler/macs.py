"""Multiply-accumulates of a module, by torch's own flop counter (1 MAC = 2 FLOPs)."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from graphnas.compiler.parts import Hollow, part_of


def count_macs(module: nn.Module, example: Mapping[str, Tensor]) -> int:
    """Multiply-accumulates for one sample of these inputs, in the mode that the module is in.

    Args:
        module: Any module; runs once.
        example: Its forward's arguments by name, batch first; the first sample is used.
    """
    first = {name: value[:1] for name, value in example.items()}
    if (part := part_of(first)) is not None:  # operations and sizes are all that counts, and values take their time
        with contextlib.suppress(Exception):  # of a module that does not take the part, or asks for values
            hollow = Hollow.of(module, first)
            if _counted(hollow.module, part_of(hollow.arguments) or {}) == _counted(module, part):
                return _counted(hollow.module, hollow.arguments)
    return _counted(module, first)


def _counted(module: nn.Module, arguments: Mapping[str, Tensor]) -> int:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _constant(module), counter, sdpa_kernel(SDPBackend.MATH):  # it has no formula for the fused attention of CPUs
        module(**arguments)
    return counter.get_total_flops() // 2


@contextlib.contextmanager
def _constant(module: nn.Module) -> Generator[None]:
    """No parameter requires a gradient: the counter's hooks fail on a parameter that is handed to a submodule (cait's class token)."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
