"""How the numbers of a stored label stand for a quantity: value = (number - offset) / scale."""

from __future__ import annotations

from typing import Annotated, Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from graphnas.schema import Number, PositiveNumber, Spec
from graphnas.tasks.base import Raw, float32


def _several(value: Any) -> Any:
    """One number for a list of one."""
    return cast("object", value) if isinstance(value, (list, tuple)) else (value,)


Numbers = Annotated[tuple[Number, ...], BeforeValidator(_several, json_schema_input_type=Number | tuple[Number, ...])]
"""A number, or a list of them."""


class Encoding(Spec):
    """How the numbers of a label stand for a quantity: value = (number - offset) / scale."""

    offset: Number = 0.0
    """The number that stands for 0."""
    scale: PositiveNumber = 1.0
    """The numbers between 0 and 1: 256 in Cityscapes' disparities."""
    invalid: Numbers = ()
    """Numbers that mean "no label here": one, or a list of them. NaN and infinities mean it always."""

    def values(self, raw: Raw) -> NDArray[np.float32]:
        """The quantities, of the same shape; NaN where there is no label."""
        values = (float32(raw) - np.float32(self.offset)) / np.float32(self.scale)
        return np.where(np.isfinite(values) & stands_for_something(raw, self.invalid), values, np.float32(np.nan))


def stands_for_something(raw: Raw, invalid: tuple[float, ...]) -> NDArray[np.bool_]:
    """Where a label is none of the numbers that mean "no label"."""
    return ~np.isin(raw, np.asarray(invalid)) if invalid else np.ones(raw.shape, np.bool_)
