"""``network``: a typed DAG of registered operations, with parameters that are bound from the task."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, field_validator, model_validator
from pydantic_core import InitErrorDetails

from graphnas.errors import SpecError, suggest
from graphnas.graph.types import parse_type
from graphnas.registry import operations
from graphnas.schema import (
    Flag,
    Int,
    Named,
    NonNegativeInt,
    Number,
    PositiveInt,
    Spec,
    Text,
    described,
    error_at,
    gathered,
    problem,
    refuse,
)
from graphnas.size_limits import max_nodes, to_raise
from graphnas.spec.document import Document
from graphnas.spec.messages import problems_of
from graphnas.spec.size import too_large
from graphnas.spec.template import Template, names_in, node_with_names, replaced

_OPERATION = Named(operations, "op")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NODE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")  # dots make plain containers
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "integer": (int, "a whole number"),
    "number": ((int, float), "a number"),
    "text": (str, "text"),
    "flag": (bool, "true or false"),
}


class Parameter(Spec):
    """A parameter of a network: where a node says ``$name``, its value stands."""

    telling: ClassVar[str | None] = "type"
    type: Literal["integer", "number", "text", "flag"] = Field(examples=["integer"])
    """Kind of value: a whole number, any number, text, or true and false."""
    minimum: Number | None = Field(default=None, examples=[1])
    """Smallest value allowed; any, if left out."""
    maximum: Number | None = Field(default=None, examples=[1024])
    """Largest value allowed; any, if left out."""
    default: Flag | Int | Number | Text | None = Field(default=None, examples=[32])
    """Value where none is given; without a default, one must be."""
    description: Text = Field(default="", examples=["Width of the head."])
    """What it is for."""

    @model_validator(mode="after")
    def _fits_itself(self) -> Parameter:
        limits = [("minimum", self.minimum), ("maximum", self.maximum)]
        refuse(
            error_at((name,), f"a {self.type} has no {name}", f"leave {name} out", limit)
            for name, limit in limits
            if limit is not None and self.type in ("text", "flag")
        )
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            refuse([error_at(("maximum",), f"must be {self.minimum:g} or more, the minimum, got {self.maximum:g}")])
        if self.default is not None and (why := self.why_not(self.default)) is not None:
            refuse([error_at(("default",), why, value=self.default)])
        return self

    def why_not(self, value: object) -> str | None:
        """Why a value is none of this parameter; ``None`` if it is one."""
        kind, words = _KINDS[self.type]
        if not isinstance(value, kind) or (isinstance(value, bool) and self.type != "flag"):
            return f"expected {words}, got {described(value)}"
        number = cast(float, value)
        if self.minimum is not None and number < self.minimum:
            return f"must be {self.minimum:g} or more, got {value}"
        if self.maximum is not None and number > self.maximum:
            return f"must be {self.maximum:g} or less, got {value}"
        return None

    @property
    def sample(self) -> bool | int | float | str:
        """Some value of it: what a network is checked with before its parameters are bound."""
        if self.default is not None:
            return self.default
        if self.type in ("text", "flag"):
            return "" if self.type == "text" else False
        low, high = self.minimum, self.maximum
        value = low if low is not None else 1 if high is None else min(1, high)
        return int(value) if self.type == "integer" else float(value)


class TapSpec(Spec):
    """Which values of a network are the taps of a stage."""

    telling: ClassVar[str | None] = "match"
    match: tuple[Text, ...] = Field(min_length=1, examples=[["encoder.layer1.*"]])
    """Globs of submodule names: ``*`` stays within a part, ``**`` crosses dots, ``[0-11]`` filling a part is a range of numbers."""
    split: tuple[PositiveInt, ...] | None = Field(default=None, min_length=1, examples=[[3, 3, 3, 3]])
    """Numbers of taps: the matches are split into that many stages, NAME1, NAME2, ...; one stage, if left out."""
    class_: Text | None = Field(default=None, alias="class", examples=["Bottleneck"])
    """Only submodules of this class; any, if left out."""
    output: Int | Text | None = Field(default=None, examples=[0])
    """Which part of the result, where a submodule returns several: an index or a name."""
    layout: Literal["nchw", "nhwc"] | None = Field(default=None, examples=["nhwc"])
    """Order of the dimensions of an image, where the network does not tell; (N, C, H, W), if left out."""
    prefix: NonNegativeInt | None = Field(default=None, examples=[1])
    """Of tokens: class and register tokens before the patches, where the network does not tell."""
    grid: tuple[PositiveInt, PositiveInt] | None = Field(default=None, examples=[[14, 14]])
    """Of tokens: rows and columns of the patches, where the network does not tell."""

    @field_validator("match", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class NetworkSpec(Document):
    """A network: inputs, nodes, outputs, taps."""

    KIND: ClassVar[str] = "network"
    kind: Literal["network"] = "network"
    """This kind of file."""
    parameters: dict[Text, Parameter] = Field(default={}, examples=[{"out_channels": {"type": "integer", "minimum": 1}}])
    """Name -> parameter; ``$name`` in a node stands for its value. ``out_channels`` is bound from the task."""
    inputs: dict[Text, Text] = Field(min_length=1, examples=[{"image": "image[3, H, W]"}])
    """Name -> type: image[C, H, W], tokens[L, D], ids[L], mask[L] or vector[D]; the batch is implied, named sizes come from the data."""
    nodes: dict[Text, Annotated[Any, _OPERATION]] = Field(
        min_length=1, examples=[{"head": {"op": "conv2d", "out_channels": "$out_channels"}}]
    )
    """Name -> operation; in any order, each reads inputs and other nodes by name."""
    outputs: dict[Text, Text] = Field(min_length=1, examples=[{"prediction": "head"}])
    """Name -> node; the plain name of one node is that of the prediction."""
    taps: dict[Text, TapSpec] | Literal["default"] = Field(default={}, examples=[{"s1": "encoder.layer1.*"}])
    """Stage -> the values that links may start and end at; none, if left out; ``default`` for stages found by how the network is built."""

    @field_validator("parameters", "inputs", "taps", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            refuse(_bad_names(cast(Mapping[str, Any], value), _WORD))
        return cast(Any, value)

    @field_validator("inputs")
    @classmethod
    def _types(cls, value: dict[str, str]) -> dict[str, str]:
        def wrong() -> Iterator[InitErrorDetails]:
            for name, text in value.items():
                try:
                    parse_type(text)
                except ValueError as error:
                    yield error_at((name,), str(error), f"{name}: image[3, H, W]", text)

        refuse(wrong())
        return value

    @field_validator("nodes", mode="wrap")
    @classmethod
    def _nodes(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> dict[str, Spec]:
        if not isinstance(value, Mapping) or not value:
            return handler(value)
        nodes = cast(Mapping[str, Any], value)
        if len(nodes) > max_nodes():  # nothing is made of them first
            raise problem(f"the network has {len(nodes):,} nodes; the limit is {max_nodes():,}", f"fewer, or {to_raise(len(nodes))}")
        parameters: Mapping[str, Parameter] | None = info.data.get("parameters")
        return gathered({name: (lambda node=node: _node(node, parameters)) for name, node in nodes.items()}, _bad_names(nodes, _NODE))

    @model_validator(mode="after")
    def _not_too_large(self) -> NetworkSpec:
        refuse(too_large(self))
        return self

    @field_validator("outputs", mode="before")
    @classmethod
    def _one_output(cls, value: Any) -> Any:
        return {"prediction": value} if isinstance(value, str) else value

    def wrong_parameters(self, values: Mapping[str, object]) -> Iterator[tuple[str, str, str | None]]:
        """(name, what is wrong, fix) of values that no parameter takes."""
        for name, value in values.items():
            if name not in self.parameters:
                yield name, f"the network has no parameter {name!r}", suggest(name, self.parameters)
            elif (why := self.parameters[name].why_not(value)) is not None:
                yield name, why, None

    def bind(self, parameters: Mapping[str, object]) -> NetworkSpec:
        """The same network with every ``$name`` replaced by a value.

        Args:
            parameters: Name -> value; those left out take their default.
        Raises:
            SpecError: A value is missing, unknown, or not what the parameter or a node allows.
        """
        problems = [self.problem(message, "parameters", name, fix=fix) for name, message, fix in self.wrong_parameters(parameters)]
        values = {name: parameters.get(name, parameter.default) for name, parameter in self.parameters.items()}
        problems += [
            self.problem(
                f"the parameter {name!r} has no value", "parameters", name, fix=f"give one, or a default: {self.parameters[name].sample}"
            )
            for name, value in values.items()
            if value is None
        ]
        if problems:
            raise SpecError(problems)
        nodes = {name: _with_values(node, values) if isinstance(node, Template) else node for name, node in self.nodes.items()}
        fields = {"version": self.version, "inputs": self.inputs, "nodes": nodes, "outputs": self.outputs, "taps": self.taps}
        try:
            made = NetworkSpec.model_validate(fields)
        except ValidationError as error:
            raise SpecError(problems_of(error, fields, self._place)) from None
        made._place = self._place
        return made


def _bad_names(names: Mapping[str, Any], form: re.Pattern[str]) -> Iterator[InitErrorDetails]:
    for name in names:
        if isinstance(name, str) and not form.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance] (it comes from anywhere)
            dots = "" if form is _WORD else ", dots between words"
            yield error_at((name,), f"{name!r} is no name", f"letters, digits and _{dots}; not a digit first", key=True)


def _node(value: Any, parameters: Mapping[str, Parameter] | None) -> Spec:
    """An operation; a template, where it has ``$names``.

    Args:
        value: As written.
        parameters: The network's; ``None`` if they are wrong themselves, so that names can't be checked.
    """
    if isinstance(value, Template):
        value = value.data
    names = names_in(value, _OPERATION)
    if not names:
        return _OPERATION.validated(value)
    if isinstance(value, str):
        raise problem(f"an operation can't be a parameter, got {value!r}", "name an operation")
    if parameters is None:
        return Template(data=value)
    return node_with_names(value, names, parameters, _OPERATION)


def _with_values(node: Template, values: Mapping[str, object]) -> dict[str, Any]:
    return replaced(node.data, {path: values[text[1:]] for path, text in names_in(node.data, _OPERATION).items()})
