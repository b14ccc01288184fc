"""Every error of graphnas: where it is, what is wrong, what to do.

An error holds one or more problems; each formats itself in the one form that all messages about input have::

    space.yaml:4:16: links[0].direction: unknown role 'primery'
      fix: did you mean 'primary'?
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Where:
    """A place in what the user wrote: ``file:line:column`` (both from 1), or a source without lines such as ``--set a.b``."""

    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        message: What is wrong, in one line, with the offending value.
        where: The place in the user's files; ``None`` for objects built in Python.
        path: The field, dotted with list indices: ``links[0].direction``; empty for a whole file.
        fix: What to do about it, in one line, if there is something to say.
    """

    message: str
    where: Where | None = None
    path: str = ""
    fix: str | None = None

    def __str__(self) -> str:
        head = ": ".join(part for part in (str(self.where) if self.where else "", self.path, self.message) if part)
        return f"{head}\n  fix: {self.fix}" if self.fix else head


class GraphNASError(Exception):
    """The base of all errors that graphnas raises about what it was given.

    ``exit_status`` is what the command line exits with: 2 where the user's input is wrong, 1 where a run failed.
    """

    exit_status = 2

    def __init__(
        self,
        problem: str | Problem | Iterable[Problem],
        *,
        where: Where | None = None,
        path: str = "",
        fix: str | None = None,
    ) -> None:
        if isinstance(problem, str):
            problem = Problem(problem, where, path, fix)
        self.problems: tuple[Problem, ...] = (problem,) if isinstance(problem, Problem) else tuple(problem)
        super().__init__("\n".join(str(p) for p in self.problems))


class SpecError(GraphNASError):
    """A spec is wrong: syntax, an unknown name, a value out of range, types that do not fit, an unproven constraint."""


class RecordError(GraphNASError):
    """A module cannot be recorded at the wanted taps; names the module, the source line, why, and a tap that would work."""


class DataError(GraphNASError):
    """A data set, a sample or a label is wrong; names the file."""


class PruneError(GraphNASError):
    """A supernet has not converged to what its search space demands."""


class ArtifactError(GraphNASError):
    """An artifact or a checkpoint is missing, corrupt, or does not fit the spec."""


class RunError(GraphNASError):
    """A run failed while it ran (a loss that is not finite, ...)."""

    exit_status = 1


class Interrupted(GraphNASError):
    """A run was stopped on request, and is saved: it can go on where it stopped.

    Args:
        problem: Where it stands, and how it goes on.
        signal_number: What asked for it; the exit status is 128 more, as shells have it.
    """

    def __init__(self, problem: Problem, signal_number: int) -> None:
        super().__init__(problem)
        self.exit_status = 128 + signal_number


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a typo most likely meant, if one is near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names for a message, at most so many of them."""
    shown = list(names)
    return ", ".join(shown[:most]) + (f", ... ({len(shown)} in all)" if len(shown) > most else "")


def suggest(name: str, known: Iterable[str]) -> str:
    """The fix of an unknown name: the nearest known one, else the list of them (at most 20)."""
    names = sorted(known)
    near = nearest(name, names)
    if near is not None:
        return f"did you mean {near!r}?"
    if not names:
        return "there are none to choose from"
    listed = ", ".join(names[:20])
    return f"one of {listed}" + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
