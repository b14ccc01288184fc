"""What is compared: a method is a search space, with other settings where it needs them.

On the command line a method is the name of a shipped space or the path of a file. A methods file gives names to more::

    gcs: {space: aux-nas, set: {balance.type: gcs}}      # other settings beside the space
    heavy: {set: {balance.weights.segmentation: 10}}     # the spec's own space
    head: aux-head                                       # a space alone
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from graphnas.errors import GraphNASError, Problem, SpecError, Where, suggest
from graphnas.schema import described
from graphnas.spec import presets
from graphnas.spec.place import Located, Place
from graphnas.spec.source import read_file

SINGLE = "single-task"
"""The method that all others are compared with: the primary's network alone."""
_SUFFIXES = (".yaml", ".yml", ".json")
_FIELDS = ("space", "set")
_EXAMPLE = "{space: aux-nas, set: {balance.weights.segmentation: 3}}"


@dataclass(frozen=True)
class Method:
    """A way to train the primary.

    Args:
        name: In tables and folders.
        overrides: What is set in the spec, ``FIELD=VALUE`` each.
    """

    name: str
    overrides: tuple[str, ...] = ()


def read_methods(names: Sequence[str], file: Path | None = None) -> tuple[Method, ...]:
    """The methods of a comparison; the single task is always the first.

    Args:
        names: Names of shipped spaces, paths of space files, and names that ``file`` gives; all of the file's, if there are none.
        file: A methods file.
    Raises:
        GraphNASError: An unknown name, or a methods file that is wrong.
    """
    given = {} if file is None else _read(file)
    if not names and not given:
        raise GraphNASError("no method is named", where=Where("--methods"), fix="--methods aux-nas,aux-head")
    problems: list[Problem] = []
    found: dict[str, Method] = {}
    for name in names or given:
        method = given.get(name) or _by_space(name)
        if method is None:
            known = [*presets("search_space"), *given]
            problems.append(Problem(f"unknown method {name!r}", Where("--methods"), fix=suggest(name, known)))
        elif method.name == SINGLE != name:
            problems.append(Problem(f"{name!r} has the name of the primary alone", Where("--methods"), fix="give the file another name"))
        elif found.setdefault(method.name, method) != method:
            fix = "give one of them another name in a --methods-file"
            problems.append(Problem(f"two methods are called {method.name!r}", Where("--methods"), fix=fix))
    if problems:
        raise GraphNASError(problems)
    others = (method for name, method in found.items() if name != SINGLE)
    return (Method(SINGLE), *others)


def _by_space(name: str) -> Method | None:
    if name.endswith(_SUFFIXES) or "/" in name:
        return Method(Path(name).stem, (f"space={json.dumps(name)}",))
    return Method(name, (f"space={name}",)) if name in presets("search_space") else None


def _read(file: Path) -> dict[str, Method]:
    """The methods of a file.

    Raises:
        SpecError: All that is wrong in it.
    """
    source = read_file(file, str(file))
    problems = list(source.problems)
    if not problems and not isinstance(source.data, Located):
        problems.append(Problem("expected methods by their names", Where(str(file)), fix=f"name: {_EXAMPLE}"))
    found: dict[str, Method] = {}
    if isinstance(source.data, Located):
        for name, value in source.data.items():
            try:
                found[name] = _method(name, value, source.place.nearest([name]), file.parent)
            except SpecError as error:
                problems += error.problems
    if problems:
        raise SpecError(problems)
    return found


def _method(name: str, value: Any, place: Place, folder: Path) -> Method:
    if name == SINGLE:
        raise SpecError(f"{SINGLE!r} is the primary alone, and always there", where=place.key, path=name, fix="another name")
    if not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", name):
        raise SpecError("a method's name is a folder's: letters, digits, '.', '-', '+' and '_'", where=place.key, path=name)
    fields: Any = {"space": value} if isinstance(value, str) else value
    if not isinstance(fields, Mapping):
        raise SpecError(
            f"expected a space or {{space, set}}, got {described(value)}", where=place.value, path=name, fix=f"{name}: {_EXAMPLE}"
        )
    fields = cast("Mapping[str, Any]", fields)
    for field in fields:
        if field not in _FIELDS:
            raise SpecError(f"unknown field {field!r}", where=place.nearest([field]).key, path=name, fix=suggest(field, _FIELDS))
    space, settings = fields.get("space"), fields.get("set", {})
    if not isinstance(space, str | None):
        raise SpecError(
            f"expected the name of a space or a file, got {described(space)}",
            where=place.nearest(["space"]).value, path=f"{name}.space", fix="space: aux-nas",
        )  # fmt: skip
    if not isinstance(settings, Mapping):
        raise SpecError(
            f"expected fields and their values, got {described(settings)}",
            where=place.nearest(["set"]).value, path=f"{name}.set", fix="set: {balance.weights.segmentation: 3}",
        )  # fmt: skip
    if space is not None and (space.endswith(_SUFFIXES) or "/" in space):
        space = str(folder / space)
    overrides = [] if space is None else [f"space={json.dumps(space)}"]
    overrides += [f"{field}={json.dumps(setting)}" for field, setting in cast("Mapping[str, Any]", settings).items()]
    return Method(name, tuple(overrides))
