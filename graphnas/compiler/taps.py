"""Which values a network's ``taps:`` name: globs x the calls of one run -> stages of taps in order of execution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import fx, nn

from graphnas.compiler.meta import type_of
from graphnas.compiler.record import Call
from graphnas.compiler.torch_typed import paths_of
from graphnas.errors import Problem, RecordError, Where, suggest
from graphnas.graph import globs
from graphnas.graph.types import Image, Other, ValueType
from graphnas.spec.network import NetworkSpec, TapSpec


@dataclass(frozen=True)
class TapRequest:
    """One wanted tap: where it stands, which submodule makes it, and which part of its result it is."""

    stage: str
    index: int
    name: str
    select: int | str | None = None
    layout: str | None = None
    where: Where | None = None


def resolve_taps(module: nn.Module, taps: Mapping[str, TapSpec], log: Sequence[Call], spec: NetworkSpec | None) -> list[TapRequest]:
    """The taps of all stages, in order of execution.

    Raises:
        RecordError: A glob that matches nothing, a submodule that is called never or twice, a split that does not add up,
            stages that overlap: all such problems at once.
    """
    calls = Counter(call.path for call in log)
    order = {call.path: position for position, call in enumerate(log)}
    existing = [name for name, _ in paths_of(module) if name]
    problems: list[Problem] = []
    requests: list[TapRequest] = []
    for stage, tap in taps.items():
        where = spec.where("taps", stage) if spec is not None else None
        try:
            names = _matched(module, tap, calls, order, existing)
            parts = _split(stage, tap, names)
        except RecordError as error:
            problems += [Problem(p.message, where, f"taps.{stage}", p.fix) for p in error.problems]
            continue
        for name, members in parts.items():
            requests += [TapRequest(name, i, member, tap.output, tap.layout, where) for i, member in enumerate(members)]
    problems += _disorder(requests, order)
    if problems:
        raise RecordError(problems)
    return sorted(requests, key=lambda request: order[request.name])


def _matched(module: nn.Module, tap: TapSpec, calls: Mapping[str, int], order: Mapping[str, int], existing: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for pattern in tap.match:
        matching = globs.match(pattern, existing)
        if not matching:
            raise RecordError(f"{pattern!r} matches no submodule", fix=_fix(pattern, existing))
        if tap.class_ is not None:
            classes = {name: type(module.get_submodule(name)).__name__ for name in matching}
            matching = [name for name in matching if classes[name] == tap.class_]
            if not matching:
                raise RecordError(f"{pattern!r} matches no submodule of class {tap.class_}", fix=suggest(tap.class_, set(classes.values())))
        called = [name for name in matching if calls.get(name)]
        if not called:
            raise RecordError(f"{pattern!r} matches only modules that are never called: {matching[0]}", fix=_children(matching[0], calls))
        for name in called:
            if calls[name] > 1:
                raise RecordError(
                    f"{name!r} is called {calls[name]} times, so the tap is ambiguous", fix="tap a submodule that is called once"
                )
        found.update(dict.fromkeys(called))
    return sorted(found, key=lambda name: order[name])


def _fix(pattern: str, existing: Sequence[str]) -> str:
    """The nearest names at the pattern's own depth: what a person looks for there."""
    depth = pattern.count(".")
    return suggest(pattern, [name for name in existing if name.count(".") == depth] or existing)


def _children(name: str, calls: Mapping[str, int]) -> str:
    below = [other for other in calls if other.startswith(f"{name}.")]
    return f"tap its parts: {name}.*" if below else "tap a submodule that takes part in the forward"


def _split(stage: str, tap: TapSpec, names: list[str]) -> dict[str, list[str]]:
    if tap.split is None:
        return {stage: names}
    if sum(tap.split) != len(names):
        raise RecordError(
            f"split {list(tap.split)} is for {sum(tap.split)} taps, {len(names)} match", fix=f"numbers that add up to {len(names)}"
        )
    parts: dict[str, list[str]] = {}
    first = 0
    for number, size in enumerate(tap.split, 1):
        parts[f"{stage}{number}"] = names[first : first + size]
        first += size
    return parts


def _disorder(requests: Sequence[TapRequest], order: Mapping[str, int]) -> list[Problem]:
    """Names in two stages, and stages whose taps are mixed in time."""
    problems: list[Problem] = []
    stage_of: dict[str, str] = {}
    for request in requests:
        if (other := stage_of.setdefault(request.name, request.stage)) != request.stage:
            problems.append(
                Problem(
                    f"{request.name!r} is in stage {other} and in stage {request.stage}",
                    request.where,
                    f"taps.{request.stage}",
                    "name it once",
                )
            )
    runs: list[str] = []
    for request in sorted(requests, key=lambda request: order[request.name]):
        if not runs or runs[-1] != request.stage:
            runs.append(request.stage)
    for stage, count in Counter(runs).items():
        if count > 1 and not problems:
            where = next(request.where for request in requests if request.stage == stage)
            problems.append(
                Problem(f"the taps of stage {stage} are not consecutive: other stages' taps run between them", where, f"taps.{stage}")
            )
    return problems


def tap_type(node: fx.Node, request: TapRequest) -> ValueType:
    """The type of a tap's value.

    Raises:
        RecordError: It is none that links know.
    """
    found = type_of(node)
    if isinstance(found, Image) and request.layout == "nhwc":
        return Image(found.width, found.channels, found.height)
    if found is None or isinstance(found, Other):
        raise RecordError(
            f"tap {request.name!r} is {found}, which no link can read", where=request.where, fix="tap an image, tokens or a vector"
        )
    return found
