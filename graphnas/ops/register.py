"""Names for operations and networks that are not ours."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeVar, cast

from pydantic import BaseModel, create_model
from torch import nn

from graphnas import registry
from graphnas.errors import GraphNASError
from graphnas.ops.base import LinkOperation, Operation
from graphnas.ops.opaque import Opaque
from graphnas.schema import Flag, Int, Number, Text

_Class = TypeVar("_Class", bound=type[Operation] | type[LinkOperation])
_STRICT: Mapping[Any, Any] = {int: Int, float: Number, str: Text, bool: Flag}
_RESERVED = ("op", "inputs", "repeat", "output")


def register_operation(cls: _Class) -> _Class:
    """Make a class a node operation or a link operation under the name in its ``op`` field; works as a decorator.

    Raises:
        GraphNASError: It is neither, has no name, or the name is taken.
    """
    kinds = ((Operation, registry.operations), (LinkOperation, registry.link_operations))
    target = next((names for base, names in kinds if isinstance(cls, type) and issubclass(cls, base)), None)  # pyright: ignore[reportUnnecessaryIsInstance]
    if target is None:
        raise GraphNASError(f"{cls!r} is no operation", fix="derive it from graphnas.ops.base.Operation or LinkOperation")
    field = cls.model_fields.get("op")
    if field is None or not isinstance(field.default, str):
        raise GraphNASError(f"{cls.__name__} has no name", fix='op: Literal["my_operation"] = "my_operation"')
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise GraphNASError(f"{cls.__name__} does not define {', '.join(missing)}", fix="define all methods of an operation")
    target.register(field.default, cls)
    return cls


class RegisteredNetwork(Opaque):
    """A network of the user's own, under its name; its fields are the parameters of what makes it."""

    factory: ClassVar[Callable[..., nn.Module]]
    parameters: ClassVar[tuple[str, ...]]

    @property
    def label(self) -> str:
        return str(type(self).model_fields["op"].default)

    def module(self, *, pretrained: bool) -> nn.Module:
        return type(self).factory(**{name: getattr(self, name) for name in type(self).parameters if name in self.model_fields_set})


def register_network(name: str, factory: Callable[..., nn.Module]) -> None:
    """Make a class or function that returns an ``nn.Module`` available as ``{op: NAME, ...}``.

    Its parameters become the fields of the operation, checked by their annotations. One without an annotation is checked by its default's
    type; one that a spec can't say (a class, a function) is left at its default.

    Raises:
        GraphNASError: The name is taken; a parameter without default can't be said in a spec, or has a name that every node has.
    """
    if isinstance(factory, nn.Module):
        raise GraphNASError(f"the network {name!r} is a {type(factory).__name__}, already made", fix="pass the class itself")
    fields = _fields(name, factory)
    op = (cast("Any", Literal)[name], name)
    made: Any = create_model(f"Network_{name}", __base__=RegisteredNetwork, __doc__=inspect.getdoc(factory), op=op, **fields)
    made.factory, made.parameters = staticmethod(factory), tuple(fields)
    registry.operations.register(name, made)
    registry.networks.register(name, factory)


def _fields(name: str, factory: Callable[..., nn.Module]) -> dict[str, Any]:
    source = factory.__init__ if isinstance(factory, type) else factory
    try:
        hints = typing.get_type_hints(source)
    except (NameError, TypeError):  # annotations that only a type checker can resolve
        hints = {}
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        required = parameter.default is parameter.empty
        hint = hints.get(parameter.name, Any if required else type(parameter.default))
        if parameter.name in _RESERVED:
            if required:
                raise GraphNASError(
                    f"network {name!r}: a parameter can't be called {parameter.name!r}, every node has one", fix="rename it"
                )
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY or (required and hint is Any) or not _sayable(hint):
            if required:
                raise GraphNASError(
                    f"network {name!r}: a spec can't say the parameter {parameter.name!r}",
                    fix="annotate it as int, float, str, bool or a list of them",
                )
            continue
        fields[parameter.name] = (_strict(hint), ... if required else parameter.default)
    return fields


def _strict(hint: Any) -> Any:
    """The annotation with our strict scalars, also inside unions and lists."""
    if hint in (int, float, str, bool):
        return _STRICT[hint]
    origin: Any = typing.get_origin(hint)
    arguments: Any = tuple(_strict(argument) for argument in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return typing.Union[arguments]  # noqa: UP007 - built at run time
    return cast("Any", origin)[arguments] if origin in (list, tuple, dict) and arguments else hint


def _sayable(hint: Any) -> bool:
    """Whether plain data can be checked against this annotation."""
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return issubclass(hint, int | float | str | list | tuple | dict | type(None) | BaseModel)
    if typing.get_origin(hint) in (type, Callable):
        return False
    return all(_sayable(part) for part in typing.get_args(hint) if isinstance(part, type))
