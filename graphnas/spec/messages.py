"""Validation errors -> problems in our words, at the user's lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from graphnas.errors import Problem, Where, suggest
from graphnas.spec.document import dotted, locate
from graphnas.spec.source import described

_BOUNDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than": lambda c: f"must be more than {c['gt']:g}",
    "greater_than_equal": lambda c: f"must be {c['ge']:g} or more",
    "less_than": lambda c: f"must be less than {c['lt']:g}",
    "less_than_equal": lambda c: f"must be {c['le']:g} or less",
}
_EXPECTED = {
    "int_type": ("a whole number", "1"), "int_from_float": ("a whole number", "1"), "float_type": ("a number", "0.5"),
    "string_type": ("text", "NAME"), "bool_type": ("true or false", "true"), "tuple_type": ("a list", "[...]"),
    "list_type": ("a list", "[...]"), "dict_type": ("a mapping", "{...}"), "mapping_type": ("a mapping", "{...}"),
    "model_type": ("a mapping", "{...}"), "model_attributes_type": ("a mapping", "{...}"), "finite_number": ("a finite number", "0.5"),
    "none_required": ("nothing", "null"),
}  # fmt: skip


def problems_of(error: ValidationError, raw: Any) -> list[Problem]:
    """All problems of a validation, sorted by place.

    Args:
        error: What pydantic found.
        raw: The data that was validated, with its positions.
    """
    found: dict[Problem, None] = {}
    for details in error.errors(include_url=False):
        found[_problem(details, raw)] = None
    return sorted(found, key=_place)


def _place(problem: Problem) -> tuple[Any, ...]:
    where = problem.where or Where("")
    return (where.source, where.line or 0, where.column or 0, problem.path)


def _problem(details: Any, raw: Any) -> Problem:
    loc: Sequence[str | int] = details["loc"]
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    if kind == "missing":
        where, path = locate(raw, loc[:-1])
        return Problem(f"missing field {loc[-1]!r}", where, dotted(path), f"add {loc[-1]}: ...")
    message = context.get("message", "")
    where, path = locate(raw, loc, key=message.startswith("unknown field"))
    text, fix = _words(kind, context, value, details["msg"], str(path[-1]) if path and isinstance(path[-1], str) else "")
    return Problem(text, where, "" if where is not None and where.source.startswith("--set ") else dotted(path), fix)


def _words(kind: str, context: dict[str, Any], value: Any, message: str, name: str) -> tuple[str, str | None]:
    """What is wrong, and what to do."""
    field = f"{name}: " if name else ""
    if kind == "graphnas":
        return context["message"], context.get("fix")
    if kind in _BOUNDS:
        return _out_of_bounds(kind, context, value, field)
    if kind in _EXPECTED:
        expected, example = _EXPECTED[kind]
        return f"expected {expected}, got {described(value)}", f"{field}{_better(kind, value) or example}"
    if kind == "literal_error":
        choices = [part.strip().strip("'") for part in str(context.get("expected", "")).replace(" or ", ", ").split(",")]
        if isinstance(value, str):
            return f"unknown value {value!r}", suggest(value, choices)
        return f"expected one of {', '.join(choices)}, got {described(value)}", f"{field}{choices[0]}"
    if kind in ("too_short", "too_long"):
        bound = context.get("min_length", context.get("max_length"))
        limit = "at least" if kind == "too_short" else "at most"
        return f"expected {limit} {bound}, got {context.get('actual_length')}", None
    return message, None


def _out_of_bounds(kind: str, context: dict[str, Any], value: Any, field: str) -> tuple[str, str | None]:
    bound = next(iter(context.values()))
    if isinstance(value, int) and kind == "greater_than" and float(bound).is_integer():
        return f"must be {int(bound) + 1} or more, got {value}", f"{field}{int(bound) + 1}"
    words = f"{_BOUNDS[kind](context)}, got {value}"
    return words, f"{field}{bound:g}" if kind.endswith("_equal") else None


def _better(kind: str, value: Any) -> str | None:
    """What was probably meant, where that can be said."""
    if isinstance(value, str) and kind in ("int_type", "float_type"):
        try:
            return f"{(int if kind == 'int_type' else float)(value):g}"
        except ValueError:
            return None
    if isinstance(value, float) and kind in ("int_type", "int_from_float") and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool) and kind == "string_type":
        return f'"{value}"'
    return None
