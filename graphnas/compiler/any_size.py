"""A recording that holds at any image size that its module takes, for a module whose own size is special.

At its own size, a vision transformer leaves its position embedding as it is, and elsewhere it resizes it: what is recorded at that size
fits no other, and what is recorded at another fits all, this one included.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from graphnas.compiler.branch import Branch
from graphnas.compiler.verify import verify
from graphnas.errors import RecordError

_SCALES = ((1, 2), (2, 1))  # the cheaper first


def recorded_for_any_size(
    module: nn.Module, taps: Mapping[str, Any], example: Mapping[str, Tensor], output: str | int | None = None
) -> Branch:
    """As ``Branch.from_module``; where that gives a recording that goes wrong at other sizes, one made at half or twice the size, if
    that is right at this size and at others.

    Args:
        module: Any module.
        taps: As for ``Branch.from_module``.
        example: The forward's arguments by name.
        output: As for ``Branch.from_module``.
    Raises:
        RecordError: The module can't be recorded at the size of the example.
    """
    branch = Branch.from_module(module, taps=taps, example=example, output=output)
    for scale in _SCALES if branch.fixed_size else ():
        other = _at_another_size(module, taps, example, output, scale)
        if other is not None:
            return other
    return branch


def _at_another_size(
    module: nn.Module,
    taps: Mapping[str, Any],
    example: Mapping[str, Tensor],
    output: str | int | None,
    scale: tuple[int, int],
) -> Branch | None:
    scaled = {name: _scaled(value, *scale) for name, value in example.items()}
    try:
        branch = Branch.from_module(module, taps=taps, example=scaled, output=output)
        verify(module, branch.recorded, example)  # raises where it is wrong at this size
    except RecordError as error:  # it does not take this size, or is another function there
        logging.getLogger(__name__).debug("%s at %d/%d of its size: %s", type(module).__name__, *scale, error)
        return None
    return None if branch.fixed_size else branch


def _scaled(value: Tensor, numerator: int, denominator: int) -> Tensor:
    """An image with other rows and columns; anything else as it is."""
    if value.dim() != 4:
        return value
    rows, columns = (max(size * numerator // denominator, 1) for size in value.shape[2:])
    return interpolate(value, size=(rows, columns))
