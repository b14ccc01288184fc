"""Validation errors -> problems in our words, at the user's lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from pydantic import ValidationError

from graphnas.errors import Problem, Where, suggest
from graphnas.schema import described
from graphnas.spec.place import Path_, Place, dotted

_BOUNDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda c: f"must be more than {c['gt']:g}",
    "greater_than_equal": lambda c: f"must be {c['ge']:g} or more",
    "less_than": lambda c: f"must be less than {c['lt']:g}",
    "less_than_equal": lambda c: f"must be {c['le']:g} or less",
}
_EXPECTED = {  # error -> what is expected, an example of it
    "int_type": ("a whole number", "1"),
    "int_from_float": ("a whole number", "1"),
    "float_type": ("a number", "0.5"),
    "finite_number": ("a finite number", "0.5"),
    "string_type": ("text", "NAME"),
    "bool_type": ("true or false", "true"),
    "none_required": ("nothing", "null"),
    "tuple_type": ("a list", "[...]"),
    "list_type": ("a list", "[...]"),
    "dict_type": ("a mapping", "{...}"),
    "mapping_type": ("a mapping", "{...}"),
    "model_type": ("a mapping", "{...}"),
    "model_attributes_type": ("a mapping", "{...}"),
}


class _Found(NamedTuple):
    """An error and where it is.

    Args:
        details: As pydantic says it.
        where: In the user's file.
        path: The field, without the parts of pydantic's that are no fields.
        value: What stands there, as written.
    """

    details: Any
    where: Where | None
    path: Path_
    value: Any


def problems_of(error: ValidationError, data: Any, place: Place | None) -> list[Problem]:
    """All problems of a validation.

    Args:
        error: What pydantic found.
        data: What was validated.
        place: Where it stands; ``None`` if it was built in Python.
    """
    found = [_find(details, data, place) for details in error.errors(include_url=False)]
    ancestors = {one.path[:length] for one in found for length in range(len(one.path))}
    out_of_bounds = {one.path for one in found if one.details["type"] in _BOUNDS}
    groups: dict[tuple[Path_, str], list[_Found]] = {}
    for one in found:
        kind = one.details["type"]
        if one.path in ancestors and (kind in _EXPECTED or kind in ("too_short", "literal_error")):
            continue  # another member of a union went deeper, so that was meant; what is wrong inside was not counted
        if one.path in out_of_bounds and kind not in _BOUNDS:
            continue  # another member of a union took the kind of value
        together = "expected" if kind in _EXPECTED or kind == "literal_error" else f"{kind} {one.details['msg']}"
        groups.setdefault((one.path, together), []).append(one)
    return list(dict.fromkeys(_problem(group) for group in groups.values()))


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, by file, then by line."""

    def place(problem: Problem) -> tuple[Any, ...]:
        where = problem.where or Where("")
        return (where.source, where.line or 0, where.column or 0, problem.path)

    return sorted(dict.fromkeys(problems), key=place)


def _find(details: Any, data: Any, place: Place | None) -> _Found:
    """Follow an error's path through the data and their places; what is in neither is a union's tag, or a field that text stood for."""
    path: list[str | int] = []
    loc: Sequence[str | int] = details["loc"]
    for part in loc:
        below = place.children.get(part) if place is not None else None
        if isinstance(data, Mapping) and part in data:
            data = cast(Mapping[Any, Any], data)[part]
        elif isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(cast(Sequence[Any], data)):
            data = cast(Sequence[Any], data)[part]
        elif below is None:
            continue
        path.append(part)
        place = below or place
    at_key = details.get("ctx", {}).get("at") == "key" or loc[-1:] == ("[key]",)
    where = None if place is None else place.key if at_key else place.value
    return _Found(details, where, tuple(path), data)


def _problem(group: Sequence[_Found]) -> Problem:
    first = group[0]
    context = first.details.get("ctx", {})
    if "located" in context:
        return cast(Problem, context["located"])
    name = str(first.path[-1]) if first.path and isinstance(first.path[-1], str) else ""
    message, fix = _words(group, f"{name}: " if name else "")
    path = dotted(first.path)
    if first.where is not None and first.where.source.startswith("--set ") and _same(first.where.source[6:], path):
        path = ""
    return Problem(message, first.where, path, fix)


def _same(override: str, path: str) -> bool:
    """Whether an override names this field, perhaps by a longer path through a reference."""
    named = override.replace("[", ".").replace("]", "")
    field = path.replace("[", ".").replace("]", "")
    return named == field or named.endswith(f".{field}")


def _words(group: Sequence[_Found], name: str) -> tuple[str, str | None]:
    """What is wrong, and what to do.

    Args:
        group: Errors of one field; several where it may be one of several things.
        name: The field, with a colon.
    """
    details, value = group[0].details, group[0].value
    kind, context, given = details["type"], details.get("ctx", {}), details["input"]
    got = f"{value} ({_kind(given)})" if isinstance(value, str) and value.startswith("$") else described(given)
    if kind == "graphnas":
        return context["message"], context.get("fix")
    if kind == "literal_error" and len(group) == 1:
        choices = _choices(context)
        if isinstance(given, str) and len(choices) > 1:
            return f"unknown value {given!r}", suggest(given, choices)
        listed = f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
        return f"expected {listed}, got {got}", f"{name}{choices[0]}"
    if kind in _EXPECTED or kind == "literal_error":
        wanted = [_EXPECTED.get(one.details["type"]) or _literal(one.details) for one in group]
        example = next((better for one in group if (better := _better(one.details["type"], given))), wanted[0][1])
        return f"expected {' or '.join(dict.fromkeys(words for words, _ in wanted))}, got {got}", f"{name}{example}"
    if kind in _BOUNDS:
        return _out_of_bounds(kind, context, given, name)
    if kind in ("too_short", "too_long"):
        bound = context.get("min_length", context.get("max_length"))
        limit = "at least" if kind == "too_short" else "at most"
        return f"expected {limit} {bound}, got {context.get('actual_length') or 'none'}", None
    if kind == "invalid_key":
        return f"a key must be text, got {described(details['loc'][-1])}", None
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", details["msg"])), None
    text = str(details["msg"])
    return text[:1].lower() + text[1:], None


def _literal(details: Any) -> tuple[str, str]:
    choices = _choices(details.get("ctx", {}))
    return " or ".join(choices), choices[0]


def _choices(context: Mapping[str, Any]) -> list[str]:
    return [part.strip().strip("'") for part in str(context.get("expected", "")).replace(" or ", ", ").split(",")]


def _kind(value: Any) -> str:
    """What a parameter's sample is."""
    return described(value).partition(" ")[0] if isinstance(value, str) else "true or false" if isinstance(value, bool) else "a number"


def _out_of_bounds(kind: str, context: Mapping[str, Any], value: Any, name: str) -> tuple[str, str | None]:
    bound = next(iter(context.values()))
    if isinstance(bound, int) and kind == "greater_than":  # of whole numbers
        return f"must be {bound + 1} or more, got {value}", f"{name}{bound + 1}"
    words = f"{_BOUNDS[kind](context)}, got {value}"
    return words, f"{name}{bound:g}" if kind.endswith("_equal") else None


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
