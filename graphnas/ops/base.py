"""What an operation is: a parameter model that also knows its type rule, its costs and its module.

``Operation`` makes a node of a network, ``LinkOperation`` carries a value across a link. Adding one is adding one class in one file and
its line in the registry; everything else (schema, messages, lists, lowering) follows from the class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from pydantic import Field
from torch import Tensor, nn

from graphnas.graph.types import ValueType
from graphnas.schema import PositiveInt, Spec, Text


class TypeRuleError(Exception):
    """Inputs or parameters of an operation that do not fit.

    Args:
        message: What is wrong, with both sizes.
        field: The parameter at fault; ``None`` points at the inputs.
        fix: What would fit, if that can be said.
    """

    def __init__(self, message: str, *, field: str | None = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.fix = fix


Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of the channels of images where 1 is white."""


class Operation(Spec, ABC):
    """A node of a network. Subclasses add ``op: Literal["name"] = "name"`` and their parameters."""

    inputs: Text | tuple[Text, ...] | None = Field(default=None, examples=["stem", ["left", "right"]])
    """Names of the values it reads; left out, the node before (for the first, the network's only input)."""
    repeat: PositiveInt = 1
    """How many times in a row, each with weights of its own; the copies are named NAME.0, NAME.1, ..."""

    @property
    def image_statistics(self) -> frozenset[Statistics]:
        """What the published weights inside expect images to be normalized by, all that differ; empty: nothing known."""
        return frozenset()

    @abstractmethod
    def infer(self, inputs: Sequence[ValueType]) -> ValueType:
        """The type of the result.

        Raises:
            TypeRuleError: The inputs do not fit.
        """

    @abstractmethod
    def macs(self, inputs: Sequence[ValueType]) -> int:
        """Multiply-accumulates of convolutions, matrix products and attention for one sample, as torch's flop counter counts them."""

    def macs_until(self, inputs: Sequence[ValueType], names: Sequence[str]) -> int:
        """Multiply-accumulates of a run that ends when the last of these inner values is made."""
        return self.macs(inputs)

    @abstractmethod
    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        """Number of parameters of ``build(inputs)``."""

    @abstractmethod
    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        """The module: called with one tensor an input, in order, it returns one tensor. Never changes its inputs in place."""

    def inner(self, inputs: Sequence[ValueType]) -> Mapping[str, ValueType]:
        """The values inside that others may read: path below the node's name -> type. None for a plain operation."""
        return {}


class LinkOperation(Spec, ABC):
    """A candidate operation of a link. Subclasses add ``op: Literal["name"] = "name"`` and their parameters."""

    @abstractmethod
    def macs(self, source: ValueType, destination: ValueType) -> int:
        """Multiply-accumulates for one sample, shape adapters included."""

    @abstractmethod
    def build(self, source: ValueType, destination: ValueType) -> LinkModule | None:
        """The module that maps a source value onto the destination's shape; ``None`` if the operation carries nothing.

        Raises:
            TypeRuleError: The shapes can't be adapted.
        """


class LinkModule(nn.Module, ABC):
    """The module of a link operation: holds its parameters, and applies them scaled by a gate."""

    @abstractmethod
    def forward(self, source: Tensor, gate: Tensor | float, destination: Tensor) -> Tensor:
        """``gate * op(source)`` in the shape of ``destination``; a linear operation scales its small weight, not the feature map."""

    @abstractmethod
    def weight_norm(self) -> Tensor:
        """Root-mean-square gain of the operation, a scalar: the size of its output relative to its input; 1 for the identity."""
