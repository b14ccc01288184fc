"""``Spec``, the base of all that a user may write, and how a name chooses the model of a field.

Every parameter model of graphnas and of its plugins is a ``Spec``: frozen, unknown fields refused, equal by its fields. An object with one
*telling* field may be written as that field's plain value. ``Named`` fields look their model up in a registry by a key inside the object
(``{op: conv1x1, initial: 0}``), ``Keyed`` ones by the object's only key (``{random_crop: [40, 56]}``).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import (
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema
from pydantic_core.core_schema import ErrorType

from graphnas.errors import Problem, suggest
from graphnas.registry import Registry, UnknownName

# YAML and JSON have types, so "3" is no number, 3.0 no integer and true neither.
Int = Annotated[int, Strict()]
PositiveInt = Annotated[int, Strict(), Gt(0)]
NonNegativeInt = Annotated[int, Strict(), Ge(0)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
PositiveNumber = Annotated[float, Strict(), AllowInfNan(False), Gt(0)]
NonNegativeNumber = Annotated[float, Strict(), AllowInfNan(False), Ge(0)]
Share = Annotated[float, Strict(), AllowInfNan(False), Ge(0), Le(1)]  # of a whole
Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]


FOLDER: ContextVar[Path | None] = ContextVar("FOLDER", default=None)
"""The folder that relative paths of the document under validation start from; the current one if ``None``."""

CLOSED: ContextVar[bool] = ContextVar("CLOSED", default=False)
"""Whether what is under validation may refer to nothing outside of it: no file, preset or repository."""


class GivenHere(str):
    """Text given on the command line: a path in it starts from the current folder, whatever file it goes into."""


def absolute(value: Any) -> Any:
    """Text as an absolute path; starts from the folder of the document under validation. A URL, and anything else, as it is."""
    if not isinstance(value, str) or value == "" or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|pipe:", value):
        return value
    folder = None if isinstance(value, GivenHere) else FOLDER.get()
    return os.path.normpath(os.path.join(folder or os.getcwd(), os.path.expanduser(value)))


FilePath = Annotated[str, Strict(), BeforeValidator(absolute)]
"""A path, made absolute: relative to the file that names it."""


def problem(message: str, fix: str | None = None) -> PydanticCustomError:
    """An error for a validator to raise: a message in our words, and what to do about it."""
    return PydanticCustomError("graphnas", "{message}", {"message": message, "fix": fix})


def error_at(loc: tuple[str | int, ...], message: str, fix: str | None = None, value: Any = None, *, key: bool = False) -> InitErrorDetails:
    """One of several errors for a validator to raise.

    Args:
        loc: The place below the object that is being validated.
        message: In our words.
        fix: What to do about it.
        value: What stands there.
        key: The key itself is wrong, not its value.
    """
    context: dict[str, Any] = {"message": message, "fix": fix, **({"at": "key"} if key else {})}
    return InitErrorDetails(type=PydanticCustomError("graphnas", "{message}", context), loc=loc, input=value)


def refuse(errors: Iterable[InitErrorDetails]) -> None:
    """Raise all of these errors; nothing if there are none.

    Raises:
        ValidationError: There are some.
    """
    if found := list(errors):
        raise ValidationError.from_exception_data("graphnas", found)


def located(problems: Iterable[Problem]) -> list[InitErrorDetails]:
    """Problems of another document, with their own places, as errors for a validator to raise."""
    contexts = [{"message": found.message, "fix": found.fix, "located": found} for found in problems]
    return [InitErrorDetails(type=PydanticCustomError("graphnas", "{message}", context), loc=(), input=None) for context in contexts]


def described(value: Any) -> str:
    """A value in a message: its kind in YAML's words, and itself where it is short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"text {str(value[:60])!r}" + ("..." if len(value) > 60 else "")
    if isinstance(value, (int, float)):
        return f"{value}"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else f"a {type(value).__name__}"


def in_yaml(value: Any) -> str:
    """A value as one would write it in a file, on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{in_yaml(key)}: {in_yaml(part)}' for key, part in cast(Mapping[Any, Any], value).items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(in_yaml, cast(Sequence[Any], value)))}]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_/$][\w ./>-]*", value):
        return value
    return json.dumps(value)


def problem_at(loc: tuple[str | int, ...], message: str, fix: str | None = None, value: Any = None) -> ValidationError:
    """As ``problem``, at a place below the object that is being validated."""
    return ValidationError.from_exception_data("graphnas", [error_at(loc, message, fix, value)])


def gathered(makers: Mapping[Any, Callable[[], Any]], also: Iterable[InitErrorDetails] = ()) -> dict[Any, Any]:
    """The values that these functions return, by key, or all of their errors at once.

    Args:
        makers: Key -> what makes its value; its errors are placed below the key.
        also: More errors.
    Raises:
        ValidationError: There are errors.
    """
    values: dict[Any, Any] = {}
    errors = list(also)
    for key, make in makers.items():
        try:
            values[key] = make()
        except ValidationError as error:
            errors += [again(details, (key,)) for details in error.errors(include_url=False)]
        except PydanticCustomError as error:
            errors.append(InitErrorDetails(type=error, loc=(key,), input=None))
    refuse(errors)
    return values


class Spec(BaseModel):
    """The base of all parameter models: frozen, no unknown fields, equal by class and fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True, protected_namespaces=())
    telling: ClassVar[str | None] = None
    """The field that a plain value stands for."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, value: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        if cls.telling is not None and not isinstance(value, (Mapping, cls)):
            value = {cls.telling: value}
        try:
            return handler(value)
        except ValidationError as error:
            details = [_in_words_of(cls, found) for found in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(error.title, details) from None

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        made = handler(schema)
        if cls.telling is None:
            return made
        fields = handler.resolve_ref_schema(made)
        about = ("title", "description", "default", "examples")
        alone = {key: part for key, part in fields["properties"][cls.telling].items() if key not in about}
        return {"title": cls.__name__, "anyOf": [alone, fields]}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spec):
            return NotImplemented
        return type(self) is type(other) and self.__dict__ == other.__dict__ and self.__pydantic_extra__ == other.__pydantic_extra__

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))


def _in_words_of(model: type[Spec], details: Any) -> InitErrorDetails:
    """An error of a model to raise again; of an unknown or a missing field, with what to write."""
    kind, loc = details["type"], tuple(details["loc"])
    if kind == "extra_forbidden" and len(loc) == 1:
        known = [field.alias or name for name, field in model.model_fields.items()]
        return error_at(loc, f"unknown field {loc[0]!r}", suggest(str(loc[0]), known), details["input"], key=True)
    if kind == "missing" and len(loc) == 1:
        return error_at((), f"missing field {loc[0]!r}", _example(model, str(loc[0])), details["input"])
    return again(details)


def _example(model: type[Spec], name: str) -> str:
    """What to write for a field."""
    field = next(field for known, field in model.model_fields.items() if name in (known, field.alias))
    if field.examples:
        return f"{name}: {in_yaml(field.examples[0])}"
    if get_origin(field.annotation) is Literal:
        return f"{name}: {' | '.join(map(in_yaml, get_args(field.annotation)))}"
    return f"{name}: ..."


def again(details: Any, above: tuple[str | int, ...] = ()) -> InitErrorDetails:
    """An error to raise again, below another field."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "graphnas":
        kind = PydanticCustomError(kind, "{message}", context)
    elif kind not in _STANDARD:
        kind = PydanticCustomError(kind, details["msg"].replace("{", "{{").replace("}", "}}"))
    made = InitErrorDetails(type=kind, loc=(*above, *details["loc"]), input=details["input"])
    if isinstance(kind, str) and context:
        made["ctx"] = context
    return made


_STANDARD = frozenset(get_args(ErrorType))


@dataclass(frozen=True)
class Named:
    """Annotation of a field whose model is looked up by a name inside the object.

    Args:
        registry: Where the models are.
        key: The field of the object that holds the name, itself a field of every model (``op: Literal["conv2d"] = "conv2d"``).
        default: The name if the object has none.
    """

    registry: Registry
    key: str
    default: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validated, serialization=_SERIALIZE)

    def validated(self, value: Any) -> Spec:
        """The parameter model that the name in ``value`` chooses, made from it."""
        if isinstance(value, Spec):
            name = getattr(value, self.key, None)
            if not isinstance(name, str) or not isinstance(value, _model(self.registry, name, (self.key,))):
                raise problem(f"{type(value).__name__} is no {self.registry.kind}")
            return value
        if isinstance(value, str):
            value = {self.key: value}
        if not isinstance(value, Mapping):
            raise problem(f"expected {_a(self.registry.kind)}, got {described(value)}", f"write a name, or {{{self.key}: NAME, ...}}")
        fields = cast(Mapping[str, Any], value)
        name = fields.get(self.key, self.default)
        if name is None:
            raise problem_at((self.key,), f"no {self.registry.kind} is named", suggest("", self.registry.names()), value)
        return _model(self.registry, name, (self.key,)).model_validate({**fields, self.key: name})

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        models = [self.registry.get(name) for name in self.registry.names()]
        return {"anyOf": [{"enum": self.registry.names()}, *(handler(m.__pydantic_core_schema__) for m in models)]}


@dataclass(frozen=True)
class Keyed:
    """Annotation of a field whose model is looked up by the object's only key; each model says its own as ``name`` (a ClassVar)."""

    registry: Registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(_serialized_by_key),
        )

    def _validate(self, value: Any) -> Spec:
        if isinstance(value, Spec):
            name = getattr(value, "name", None)
            if not isinstance(name, str) or not isinstance(value, _model(self.registry, name, (name,))):
                raise problem(f"{type(value).__name__} is no {self.registry.kind}")
            return value
        if isinstance(value, str):
            value = {value: {}}
        if not isinstance(value, Mapping) or len(cast(Mapping[str, Any], value)) != 1:
            raise problem(f"expected one {self.registry.kind}, got {described(value)}", "write NAME, or {NAME: {...}}")
        [(name, fields)] = cast(Mapping[str, Any], value).items()
        model = _model(self.registry, name, (name,))
        return gathered({name: lambda: model.model_validate({} if fields is None else fields)})[name]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        names = self.registry.names()
        return {
            "anyOf": [
                {"enum": names},
                *(
                    {
                        "type": "object",
                        "properties": {name: handler(self.registry.get(name).__pydantic_core_schema__)},
                        "required": [name],
                        "additionalProperties": False,
                    }
                    for name in names
                ),
            ]
        }


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _model(registry: Registry, name: Any, loc: tuple[str, ...]) -> type[Spec]:
    if not isinstance(name, str):
        raise problem_at(loc, f"the name of {_a(registry.kind)} is text, got {described(name)}")
    try:
        return registry.get(name)
    except UnknownName as error:
        raise problem_at(loc, str(error), error.fix, name) from None


_SERIALIZE = core_schema.plain_serializer_function_ser_schema(lambda value: value.model_dump(mode="json", by_alias=True))


def _serialized_by_key(value: Any) -> dict[str, Any]:
    return {value.name: value.model_dump(mode="json", by_alias=True)}
