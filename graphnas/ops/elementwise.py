"""The base of operations that keep the type of their only input and hold neither weights nor multiply-accumulates."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

from graphnas.graph.types import ValueType
from graphnas.ops.base import Operation
from graphnas.ops.rules import one_of


class Elementwise(Operation, ABC):
    """Image, tokens or vector -> the same."""

    def infer(self, inputs: Sequence[ValueType]) -> ValueType:
        return one_of(self, inputs)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return 0

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return 0
