"""``dropout``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from graphnas.graph.types import ValueType
from graphnas.ops.elementwise import Elementwise
from graphnas.schema import Share


class Dropout(Elementwise):
    """Zeros elements at random while training, and scales the others up."""

    op: Literal["dropout"] = "dropout"
    p: Share = 0.5
    """Share of elements that become zero."""

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return nn.Dropout(self.p)
