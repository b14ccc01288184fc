"""Example inputs for a module whose parameters were set to another precision since they were made."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def precision_of(module: nn.Module) -> torch.dtype | None:
    """The one floating dtype of all its parameters; ``None`` where they have none, or several."""
    found = {parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()}
    return next(iter(found)) if len(found) == 1 else None


def in_precision_of(module: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inputs of floating numbers in the dtype of a module's parameters, where these have one; other inputs as they are."""
    dtype = precision_of(module)
    return {name: value.to(dtype) if dtype is not None and value.is_floating_point() else value for name, value in inputs.items()}
