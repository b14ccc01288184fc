"""What type rules share: which inputs an operation reads, said in one form when they are others, and sizes given as one number or two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from graphnas.graph.types import Ids, Image, Mask, Tokens, ValueType, Vector
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.schema import problem

_FORMS: dict[type[Any], str] = {
    Image: "image[C, H, W]",
    Tokens: "tokens[L, D]",
    Vector: "vector[D]",
    Ids: "ids[L]",
    Mask: "mask[L]",
}
_BRIDGES: dict[tuple[type[Any], type[Any]], str] = {  # (given, wanted) -> what goes between
    (Tokens, Image): "to_image",
    (Image, Tokens): "to_tokens",
    (Image, Vector): "global_avg_pool",
    (Tokens, Vector): "global_avg_pool",
}
Kind = TypeVar("Kind", Image, Tokens, Vector)
Float = Image | Tokens | Vector  # what layers that keep the shape read


def one(op: Operation, inputs: Sequence[ValueType], kind: type[Kind], *, fix: str | None = None) -> Kind:
    """The only input, which must be of this kind.

    Raises:
        TypeRuleError: It is not, or there are more or none; the fix is ``fix``, else the operation that would make one of it.
    """
    value = only(op, inputs)
    if not isinstance(value, kind):
        raise _unfit(op, value, (kind,), fix)
    return value


def one_of(op: Operation, inputs: Sequence[ValueType], *kinds: type[Float], fix: str | None = None) -> Float:
    """The only input, which must be of one of these kinds; any of image, tokens, vector if none are given.

    Raises:
        TypeRuleError: It is not, or there are more or none.
    """
    value = only(op, inputs)
    wanted = kinds or (Image, Tokens, Vector)
    if not isinstance(value, wanted):
        raise _unfit(op, value, wanted, fix)
    return value


def all_of(op: Operation, inputs: Sequence[ValueType], kind: type[Kind], *, at_least: int = 1) -> list[Kind]:
    """Several inputs, all of this kind.

    Raises:
        TypeRuleError: There are fewer, or one is of another kind.
    """
    if len(inputs) < at_least:
        raise TypeRuleError(f"{name_of(op)} reads {at_least} values or more, got {len(inputs)}", fix="inputs: [NAME, NAME, ...]")
    found: list[Kind] = []
    for value in inputs:
        if not isinstance(value, kind):
            raise _unfit(op, value, (kind,), None)
        found.append(value)
    return found


def only(op: Operation, inputs: Sequence[ValueType]) -> ValueType:
    """The only input.

    Raises:
        TypeRuleError: There are more, or none.
    """
    if len(inputs) != 1:
        raise TypeRuleError(f"{name_of(op)} reads one value, got {len(inputs)}", fix="join them first, with add or concat")
    return inputs[0]


def name_of(op: Operation) -> str:
    """The registered name of an operation."""
    return str(getattr(op, "op", type(op).__name__))


def _unfit(op: Operation, value: ValueType, wanted: tuple[type[Any], ...], fix: str | None) -> TypeRuleError:
    forms = " or ".join(_FORMS[kind] for kind in wanted)
    bridge = next((_BRIDGES[type(value), kind] for kind in wanted if (type(value), kind) in _BRIDGES), None)
    if fix is None and bridge is not None:
        fix = f"put a node {{op: {bridge}}} before it"
    return TypeRuleError(f"{name_of(op)} reads {forms}, got {value}", fix=fix)


@dataclass(frozen=True, eq=False)
class Checked:
    """Annotation of a field that one function checks, so that a union gives one message and not one of each member.

    Args:
        check: Value as written -> value of the field; raises ``problem``.
        json_schema: What may be written.
    """

    check: Callable[[Any], Any]
    json_schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.json_schema)


def _checked_pair(smallest: int) -> Checked:
    def check(value: Any) -> int | tuple[int, int]:
        parts: list[Any] = list(value) if isinstance(value, list | tuple) else [value, value]  # pyright: ignore[reportUnknownArgumentType]
        if len(parts) != 2 or any(type(part) is not int for part in parts):
            raise problem(f"must be a whole number or two, [rows, columns], got {value!r}")
        if min(parts) < smallest:
            raise problem(f"must be {smallest} or more, got {value!r}")
        return value if isinstance(value, int) else (parts[0], parts[1])

    number = {"type": "integer", "minimum": smallest}
    return Checked(check, {"anyOf": [number, {"type": "array", "items": number, "minItems": 2, "maxItems": 2}]})


Pair = Annotated[int | tuple[int, int], _checked_pair(1)]  # one number, or [rows, columns]
PairFrom0 = Annotated[int | tuple[int, int], _checked_pair(0)]


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a size given as one number or two."""
    return (value, value) if isinstance(value, int) else value


def window(
    value: Image,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[int, int]:
    """Rows and columns of what a sliding window makes of an image.

    Raises:
        TypeRuleError: The window is larger than the padded image.
    """
    sizes = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip((value.height, value.width), kernel, stride, padding, dilation, strict=True)
    ]
    if min(sizes) < 1:
        padded = [value.height + 2 * padding[0], value.width + 2 * padding[1]]
        raise TypeRuleError(
            f"a window of {_window_size(kernel, dilation)} does not fit {value}, {padded} with padding",
            field="kernel_size",
            fix="a smaller kernel_size, or fewer strides before it",
        )
    return sizes[0], sizes[1]


def _window_size(kernel: tuple[int, int], dilation: tuple[int, int]) -> list[int]:
    return [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
