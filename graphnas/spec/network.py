"""``network``: a typed DAG of registered operations, with parameters that are bound from the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_serializer, model_validator

from graphnas.errors import SpecError, suggest
from graphnas.graph.types import parse_type
from graphnas.registry import operations
from graphnas.schema import Flag, Int, Named, Number, PositiveInt, Spec, Text, described, gathered, problem_at
from graphnas.spec.document import Document
from graphnas.spec.messages import problems_of

_OPERATION = Named(operations, "op")
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "integer": (int, "a whole number"),
    "number": ((int, float), "a number"),
    "text": (str, "text"),
    "flag": (bool, "true or false"),
}
_SAMPLES: dict[str, Any] = {"integer": 1, "number": 1.0, "text": "", "flag": False}


class Parameter(Spec):
    """A parameter of a network: where a node says ``$name``, its value stands."""

    telling: ClassVar[str] = "type"
    type: Literal["integer", "number", "text", "flag"]
    """Kind of value."""
    minimum: Number | None = None
    """Smallest value allowed."""
    maximum: Number | None = None
    """Largest value allowed."""
    default: Flag | Int | Number | Text | None = None
    """Value where none is given; without it, one must be."""
    description: Text = ""
    """What it is for."""

    @model_validator(mode="after")
    def _default_fits(self) -> Parameter:
        if self.default is not None and (why := self.why_not(self.default)) is not None:
            raise problem_at(("default",), why, value=self.default)
        return self

    def why_not(self, value: Any) -> str | None:
        """Why a value is none of this parameter; ``None`` if it is one."""
        kind, words = _KINDS[self.type]
        if not isinstance(value, kind) or (isinstance(value, bool) and self.type != "flag"):
            return f"expected {words}, got {described(value)}"
        if self.minimum is not None and value < self.minimum:
            return f"must be {self.minimum:g} or more, got {value}"
        if self.maximum is not None and value > self.maximum:
            return f"must be {self.maximum:g} or less, got {value}"
        return None

    @property
    def sample(self) -> Any:
        """Some value of it: what a network is checked with before its parameters are bound."""
        if self.default is not None:
            return self.default
        value = _SAMPLES[self.type]
        if self.type in ("integer", "number"):
            value = type(value)(
                self.minimum if self.minimum is not None else min(value, self.maximum) if self.maximum is not None else value
            )
        return value


class TapSpec(Spec):
    """Which values of a network are the taps of a stage."""

    telling: ClassVar[str] = "match"
    match: tuple[Text, ...] = Field(min_length=1)
    """Globs of submodule names: ``*`` stays within a part, ``**`` crosses dots, ``[0-11]`` filling a part is a range of numbers."""
    split: tuple[PositiveInt, ...] | None = None
    """Numbers of taps: the matches are split into that many stages, NAME1, NAME2, ..."""
    class_: Text | None = Field(default=None, alias="class")
    """Only submodules of this class."""
    output: Int | Text | None = None
    """Which part of the result, where a submodule returns several."""
    layout: Literal["nchw", "nhwc"] | None = None
    """Order of the dimensions of an image, if not (N, C, H, W)."""

    @field_validator("match", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Template(Spec):
    """A node that some ``$parameter`` stands in, as written."""

    data: Any

    @property
    def op(self) -> str:
        return str(self.data.get("op"))

    @model_serializer
    def _as_written(self) -> Any:
        return self.data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.data == other.data

    __hash__ = None  # pyright: ignore[reportAssignmentType]


class NetworkSpec(Document):
    """A network: inputs, nodes, outputs, taps."""

    KIND: ClassVar[str] = "network"
    kind: Literal["network"] = "network"
    parameters: dict[Text, Parameter] = {}
    """Parameters; ``$name`` in a node stands for the value of one. ``out_channels`` is bound from the task."""
    inputs: dict[Text, Text] = Field(min_length=1, examples=[{"image": "image[3, H, W]"}])
    """Name -> type: image[C, H, W], tokens[L, D], ids[L], mask[L], vector[D]; the batch is implied, sizes come from the data."""
    nodes: dict[Text, Annotated[Any, _OPERATION]] = Field(min_length=1)
    """Name -> operation; in any order, each reads inputs and other nodes by name."""
    outputs: dict[Text, Text] = Field(min_length=1, examples=[{"prediction": "head"}])
    """Name -> node; a plain name is that of the prediction."""
    taps: dict[Text, TapSpec] = {}
    """Stage -> which values links may start and end at."""

    @field_validator("inputs")
    @classmethod
    def _types(cls, value: dict[str, str]) -> dict[str, str]:
        def check(name: str, text: str) -> str:
            try:
                parse_type(text)
            except ValueError as error:
                raise problem_at((), str(error), f"{name}: image[3, H, W]", text) from None
            return text

        return gathered({name: (lambda name=name, text=text: check(name, text)) for name, text in value.items()})

    @field_validator("nodes", mode="wrap")
    @classmethod
    def _nodes(cls, value: Any, handler: Any, info: ValidationInfo) -> dict[str, Spec]:
        if not isinstance(value, Mapping):
            return handler(value)
        parameters: Mapping[str, Parameter] = info.data.get("parameters", {})
        return gathered({name: (lambda node=node: _node(node, parameters)) for name, node in value.items()})

    @field_validator("outputs", mode="before")
    @classmethod
    def _one_output(cls, value: Any) -> Any:
        return {"prediction": value} if isinstance(value, str) else value

    def bind(self, parameters: Mapping[str, object]) -> NetworkSpec:
        """The same network with every ``$name`` replaced by a value.

        Args:
            parameters: Name -> value; those left out take their default.
        Raises:
            SpecError: A value is missing, unknown, or not what the parameter allows.
        """
        problems = [
            self.problem(f"unknown parameter {name!r}", "parameters", fix=suggest(name, self.parameters))
            for name in parameters
            if name not in self.parameters
        ]
        values: dict[str, object] = {}
        for name, parameter in self.parameters.items():
            value = parameters.get(name, parameter.default)
            if value is None:
                problems.append(self.problem("no value is given", "parameters", name, fix=f"{name}: {parameter.sample!r}"))
            elif (why := parameter.why_not(value)) is not None:
                problems.append(self.problem(why, "parameters", name))
            values[name] = value
        if problems:
            raise SpecError(problems)
        nodes = {name: replaced(node.data, values) if isinstance(node, Template) else node for name, node in self.nodes.items()}
        fields = {"version": self.version, "inputs": self.inputs, "nodes": nodes, "outputs": self.outputs, "taps": self.taps}
        try:
            made = NetworkSpec.model_validate(fields)
        except ValidationError as error:
            raise SpecError(problems_of(error, fields, self._place)) from None
        made._place = self._place
        return made


def _node(value: Any, parameters: Mapping[str, Parameter]) -> Spec:
    if isinstance(value, Template):
        value = value.data
    names = _references(value)
    if not names:
        return _OPERATION.validated(value)
    errors = [
        problem_at(path, f"unknown parameter {name!r}", suggest(name, parameters), f"${name}")
        for path, name in names
        if name not in parameters
    ]
    known = {name: parameter.sample for name, parameter in parameters.items()}

    def sampled() -> Spec:
        try:
            return _OPERATION.validated(replaced(value, known))
        except ValidationError as error:  # a sample's size may be wrong where the real one is right; its kind may not
            placed = {path for path, _ in names}
            kept = [d for d in error.errors(include_url=False) if tuple(d["loc"]) not in placed or d["type"].endswith("_type")]
            if not kept:
                return Template(data=value)
            raise

    if errors:
        gathered({i: (lambda error=error: _raise(error)) for i, error in enumerate(errors)}, keyed=False)
    made = sampled()
    if isinstance(made, Template):
        return made
    whole = {path[0] for path, _ in names}
    return Template(data={key: part if key in whole else getattr(made, key, part) for key, part in value.items()})


def _raise(error: Exception) -> Any:
    raise error


def _references(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], str]]:
    """The ``$names`` in a node, each with its path."""
    if isinstance(value, str):
        return [(path, value[1:])] if value.startswith("$") else []
    if isinstance(value, Mapping):
        return [found for key, part in value.items() for found in _references(part, (*path, key))]
    if isinstance(value, (list, tuple)):
        return [found for i, part in enumerate(value) for found in _references(part, (*path, i))]
    return []


def replaced(value: Any, values: Mapping[str, object]) -> Any:
    """Data with every ``$name`` replaced that has a value."""
    if isinstance(value, str):
        return values.get(value[1:], value) if value.startswith("$") else value
    if isinstance(value, Mapping):
        return {key: replaced(part, values) for key, part in cast(Mapping[str, Any], value).items()}
    if isinstance(value, (list, tuple)):
        return [replaced(part, values) for part in cast(Sequence[Any], value)]
    return value
