"""Samples that can't be used and are left out, where a source says ``on_error: skip``: counted, logged, and refused if too many."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from graphnas.data.base import Part
from graphnas.errors import DataError, Problem

LOG = logging.getLogger("graphnas.data")
LARGEST_SHARE = 0.01
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Skipped:
    """A sample that was left out.

    Args:
        id: ``rooms/0012``.
        source: Its source.
        part: Which of the source's records.
        reason: What is wrong with it, in one line with the file's name.
    """

    id: str
    source: str
    part: Part
    reason: str


class Skips:
    """All samples that were left out so far.

    Args:
        sizes: (source, part) -> how many samples it has; parts that are opened later are added.
        problem: Makes a problem at a field of the task pair.
    """

    def __init__(self, sizes: Callable[[str, Part], int], problem: Callable[..., Problem]) -> None:
        self._sizes = sizes
        self._problem = problem
        self._found: dict[str, Skipped] = {}

    @property
    def reasons(self) -> Mapping[str, str]:
        """Sample -> what is wrong with it."""
        return {name: skipped.reason for name, skipped in self._found.items()}

    def add(self, skipped: Iterable[Skipped]) -> None:
        """Take note of samples, each once.

        Raises:
            DataError: They are more than 1 % of a source's part.
        """
        new = [one for one in skipped if one.id not in self._found]
        for one in new:
            self._found[one.id] = one
            LOG.warning("%s is left out: %s", one.id, one.reason)
        if not new:
            return
        for (source, part), count in Counter(map(_place, self._found.values())).items():
            size = self._sizes(source, part)
            if count > LARGEST_SHARE * size:
                found = [one for one in self._found.values() if _place(one) == (source, part)]
                names = ", ".join(one.id for one in found[:SHOWN]) + (", ..." if count > SHOWN else "")
                message = f"{count} of {size} samples for {part} can't be used, more than 1 %: {names}; the first: {found[0].reason}"
                raise DataError(self._problem(message, "sources", source, "on_error", fix="mend or remove them"))


def _place(skipped: Skipped) -> tuple[str, Part]:
    return skipped.source, skipped.part
