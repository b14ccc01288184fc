"""Globs over dotted names: ``*`` and ``?`` stay within a part, ``**`` crosses dots, ``[0-11]`` filling a whole part is a range of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_RANGE = re.compile(r"\[(\d+)-(\d+)\]")


def match(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a glob matches, in the order they come in."""
    wanted = _compiled(pattern)
    return [name for name in names if wanted.fullmatch(name)]


def matches(pattern: str, name: str) -> bool:
    """Whether a glob matches this name."""
    return _compiled(pattern).fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = [_part(part) for part in pattern.split(".")]
    text = r"\.".join(parts)
    text = re.sub(r"^\(\?:\.\+\)\\\.", r"(?:.+\\.)?", text)  # `**.x` also matches `x`
    text = text.replace(r"\.(?:.+)\.", r"\.(?:.+\.)?")  # `x.**.y` also `x.y`
    return re.compile(text)


def _part(part: str) -> str:
    if part == "**":
        return "(?:.+)"
    if (numbers := _RANGE.fullmatch(part)) is not None:
        low, high = int(numbers[1]), int(numbers[2])
        return f"(?:{'|'.join(str(number) for number in range(low, high + 1))})" if low <= high else "(?!)"
    pieces: list[str] = []
    position = 0
    while position < len(part):
        character = part[position]
        end = part.find("]", position + 2)
        if character == "*":
            pieces.append("[^.]*")
        elif character == "?":
            pieces.append("[^.]")
        elif character == "[" and end != -1:
            inside = part[position + 1 : end].replace("\\", r"\\")
            pieces.append(f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]")
            position = end
        else:
            pieces.append(re.escape(character))
        position += 1
    return "".join(pieces)
