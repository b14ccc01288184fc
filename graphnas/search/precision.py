"""On which device and in which precision a run computes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from graphnas.errors import Problem, SpecError

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Precision:
    """Forward passes run under autocast to ``dtype`` (none for float32); losses, weights and optimizers stay float32.

    Args:
        device: Where everything is.
        dtype: bfloat16, float16 or ``None``.
        scaler: Scales the loss of float16, whose small gradients would vanish.
    """

    device: torch.device
    dtype: torch.dtype | None = None
    scaler: torch.amp.GradScaler | None = None

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, self.dtype)

    def move(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same tensors on the device."""
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in tensors.items()}


def make_precision(device: str, precision: str) -> Precision:
    """What ``runtime.device`` and ``runtime.precision`` say; ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        SpecError: torch does not know the device, it is not there, or it can't compute in float16.
    """
    found = find_device(device)
    dtype = _AUTOCAST[precision]
    if dtype is not torch.float16:
        return Precision(found, dtype)
    if found.type not in ("cuda", "cpu"):  # the devices that torch's GradScaler serves
        raise SpecError(
            Problem(
                f"float16 needs a gradient scaler, which torch has not for {found.type}",
                path="runtime.precision",
                fix="precision: bfloat16",
            )
        )
    return Precision(found, dtype, torch.amp.GradScaler(found.type))


def find_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        SpecError: torch does not know it, or it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        said = str(error).strip().splitlines()[0]
        raise SpecError(Problem(f"no device {name!r}: {said}", path="runtime.device", fix="device: auto")) from None
    return device


def in_memory_format(network: Network, memory_format: Literal["contiguous", "channels_last"]) -> Network:
    """The network, in place, with the weights of its 2d convolutions laid out as ``runtime.memory_format`` says."""
    if memory_format == "channels_last":
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
