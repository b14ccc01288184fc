"""What an operation is: a parameter model that also knows its type rule, its costs and its module.

``Operation`` makes a node of a network, ``LinkOperation`` carries a value across a link. Adding one is adding one class in one file and
its line in the registry; everything else (schema, messages, lists, lowering) follows from the class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from pydantic import Field, field_validator
from torch import Tensor, nn

from graphnas.graph.types import ValueType
from graphnas.schema import PositiveInt, Spec, Text, problem


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

    by_name: ClassVar[bool] = False
    """Whether what it reads may be given by the names of its module's arguments."""
    inputs: Text | tuple[Text, ...] | dict[Text, Text] | None = Field(default=None, examples=["stem", ["left", "right"]])
    """Names of the values it reads; left out, the node before (for the first, the network's only input)."""
    repeat: PositiveInt = 1
    """How many times in a row, each with weights of its own; the copies are named NAME.0, NAME.1, ..."""

    @field_validator("inputs")
    @classmethod
    def _in_order(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and not cls.by_name:
            names = ", ".join(cast("Mapping[str, str]", value).values())
            raise problem("it reads values in order, not by name", f"inputs: [{names}]" if names else "inputs: NAME")
        return cast("Any", value)

    @property
    def reads(self) -> tuple[str, ...] | None:
        """The names of the values it reads; ``None`` where that is left to the node's place."""
        if isinstance(self.inputs, Mapping):
            return tuple(self.inputs.values())
        return (self.inputs,) if isinstance(self.inputs, str) else self.inputs

    @property
    def places(self) -> tuple[tuple[str | int, ...], ...]:
        """Where each of those names stands below the node."""
        if isinstance(self.inputs, Mapping):
            return tuple(("inputs", name) for name in self.inputs)
        return (("inputs",),) if not isinstance(self.inputs, tuple) else tuple(("inputs", i) for i in range(len(self.inputs)))

    @property
    def image_statistics(self) -> frozenset[Statistics]:
        """What the published weights inside expect images to be normalized by, all that differ; empty: nothing known.

        Raises:
            TypeRuleError: What tells it can't be fetched or read.
        """
        return frozenset()

    def argument_names(self, inputs: Sequence[ValueType]) -> tuple[str, ...] | None:
        """The names under which its module takes these inputs; ``None``: in order.

        Raises:
            TypeRuleError: That can't be told.
        """
        return tuple(self.inputs) if isinstance(self.inputs, Mapping) else None

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
        """The module: called with one tensor an input, it returns one tensor (a network made elsewhere may return others beside it).

        Never changes its inputs in place.
        """

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
