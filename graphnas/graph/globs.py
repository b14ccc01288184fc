"""Globs over dotted names: ``*`` and ``?`` stay within a part, ``**`` crosses dots, ``[0-11]`` filling a whole part is a range.

``[abc]``, ``[a-c]`` and ``[!a-c]`` are one character of a part, as in a shell. Every text is a glob; one without meaning matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_RANGE = re.compile(r"\[(\d+)-(\d+)\]")
_NOTHING = "(?!)"
_ANY = "(?:.+)"  # one or more parts


def match(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a glob matches, in the order they come in."""
    return [name for name in names if matches(pattern, name)]


def matches(pattern: str, name: str) -> bool:
    """Whether a glob matches this name."""
    wanted, ranges = _compiled(pattern)
    found = wanted.fullmatch(name)
    return found is not None and all(low <= int(number) <= high for number, (low, high) in zip(found.groups(), ranges, strict=True))


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> tuple[re.Pattern[str], tuple[tuple[int, int], ...]]:
    """A regular expression, and the bounds of the numbers that its groups catch."""
    parts: list[str] = []
    ranges: list[tuple[int, int]] = []
    for part in pattern.split("."):
        if (numbers := _RANGE.fullmatch(part)) is not None:
            ranges.append((int(numbers[1]), int(numbers[2])))
            parts.append(r"(0|[1-9][0-9]*)")
        elif part != "**":
            parts.append(_part(part))
        elif parts[-1:] != [_ANY]:
            parts.append(_ANY)
    text = r"\.".join(parts)
    leading = rf"{_ANY}\."
    if text.startswith(leading):
        text = r"(?:.+\.)?" + text.removeprefix(leading)  # `**.x` also matches `x`
    text = text.replace(rf"\.{_ANY}\.", r"\.(?:.+\.)?")  # `x.**.y` also `x.y`
    return re.compile(text), tuple(ranges)


def _part(part: str) -> str:
    pieces: list[str] = []
    position = 0
    while position < len(part):
        character = part[position]
        end = part.find("]", position + 2)
        if part[position + 1 : position + 2] in ("!", "^"):
            end = part.find("]", position + 3)  # the first of a class may be a bracket: `[!]]`
        if character == "*":
            pieces.append("[^.]*")
        elif character == "?":
            pieces.append("[^.]")
        elif character == "[" and end != -1:
            pieces.append(_class(part[position + 1 : end]))
            position = end
        else:
            pieces.append(re.escape(character))
        position += 1
    return "".join(pieces)


def _class(inside: str) -> str:
    """One character out of these, or with ``!`` or ``^`` in front none of these."""
    negated = inside[0] in "!^"
    members = inside[negated:]
    ranges: list[str] = []
    position = 0
    while position < len(members):
        first, last = members[position], members[position]
        if members[position + 1 : position + 2] == "-" and position + 2 < len(members):
            last = members[position + 2]
            position += 2
        if first <= last:
            ranges.append(f"{re.escape(first)}-{re.escape(last)}")
        position += 1
    if not ranges:
        return "[^.]" if negated else _NOTHING
    return f"[^.{''.join(ranges)}]" if negated else f"[{''.join(ranges)}]"
