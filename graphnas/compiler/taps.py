"""Which values a network's ``taps:`` name: globs x the calls of one run -> stages of taps in order of execution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn

from graphnas.compiler.calls import Call
from graphnas.compiler.meta import type_of
from graphnas.compiler.record import Recording
from graphnas.compiler.torch_typed import paths_of
from graphnas.errors import Problem, RecordError, Where, suggest
from graphnas.graph import globs
from graphnas.graph.types import ValueType
from graphnas.spec.network import NetworkSpec, TapSpec


@dataclass(frozen=True)
class TapRequest:
    """One wanted tap: where it stands, which submodule or function makes it, which part of its result it is, and what it was in one run."""

    stage: str
    index: int
    name: str
    select: int | str | None = None
    layout: str | None = None
    where: Where | None = None
    found: ValueType | None = None
    prefix: int | None = None
    grid: tuple[int, int] | None = None


def resolve_taps(
    module: nn.Module,
    taps: Mapping[str, TapSpec],
    log: Sequence[Call],
    spec: NetworkSpec | None,
    *,
    trained: Callable[[], Sequence[Call]] = list,
) -> list[TapRequest]:
    """The taps of all stages, in order of execution.

    Args:
        module: The module.
        taps: By stage.
        log: Of a run in eval mode.
        spec: Where the taps come from, if it is one.
        trained: Makes the log of a run in train mode, for messages alone.
    Raises:
        RecordError: A glob that matches nothing, a submodule that is called never or twice, a value that no link can read, a split that
            does not add up, stages that overlap: all such problems at once.
    """
    known = Named.of(module, log)
    problems: list[Problem] = []
    requests: list[TapRequest] = []
    for stage, tap in taps.items():
        where = spec.where("taps", stage) if spec is not None else None
        try:
            parts = _split(stage, tap, _matched(module, tap, known, trained))
        except RecordError as error:
            problems += [Problem(p.message, where, f"taps.{stage}", p.fix) for p in error.problems]
            continue
        for name, members in parts.items():
            requests += [
                TapRequest(name, i, member, tap.output, tap.layout, where, known.calls[member].part(tap.output), tap.prefix, tap.grid)
                for i, member in enumerate(members)
            ]
    problems += _disorder(requests, known.order)
    problems += [problem for request in requests if (problem := _unreadable(request, known.calls[request.name])) is not None]
    if problems:
        raise RecordError(problems)
    return sorted(requests, key=lambda request: known.order[request.name])


@dataclass(frozen=True)
class Named:
    """What one run of a module tells about the names in it.

    Args:
        modules: Paths of all submodules.
        values: Names of the values of functions, in order of execution.
        inside: Those among them that a glob reaches: not of a module without submodules, which is a layer as a whole.
        calls: The last call of each name.
        counts: How often each was called.
        order: The position of its last call.
    """

    modules: Sequence[str]
    values: Sequence[str]
    inside: Sequence[str]
    calls: Mapping[str, Call]
    counts: Mapping[str, int]
    order: Mapping[str, int]

    @staticmethod
    def of(module: nn.Module, log: Sequence[Call]) -> Named:
        paths = [(path, submodule) for path, submodule in paths_of(module) if path]
        layers = {path for path, submodule in paths if next(submodule.children(), None) is None}
        values = list(dict.fromkeys(call.path for call in log if call.function))
        return Named(
            [path for path, _ in paths],
            values,
            [name for name in values if name.rpartition(".")[0] not in layers],
            {call.path: call for call in log},
            Counter(call.path for call in log),
            {call.path: position for position, call in enumerate(log)},
        )

    def matching(self, pattern: str) -> list[str]:
        """The submodules that a glob matches; also the values if its last part is the name of one, or if no submodule matches."""
        found = globs.match(pattern, self.modules)
        last = pattern.rpartition(".")[2]
        if found and all(name.rpartition(".")[2] != last for name in self.inside):
            return found
        values = globs.match(pattern, self.inside) or [name for name in self.values if name == pattern]
        return [*found, *(name for name in values if name not in found)]


def _matched(module: nn.Module, tap: TapSpec, known: Named, trained: Callable[[], Sequence[Call]]) -> list[str]:
    found: dict[str, None] = {}
    for pattern in tap.match:
        matching = known.matching(pattern)
        if not matching:
            raise RecordError(_trained_only(module, pattern, known, trained()) or _nothing(module, pattern, known))
        if tap.class_ is not None:
            matching = _of_class(module, tap.class_, pattern, matching, known)
        called = [name for name in matching if known.counts.get(name)]
        if not called:
            raise RecordError(_trained_only(module, pattern, known, trained()) or _never_called(module, pattern, matching[0], known))
        for name in called:
            if known.counts[name] > 1:
                what = "a value of a module" if known.calls[name].function else "a submodule"
                raise RecordError(
                    f"{name!r} is called {known.counts[name]} times, so the tap is ambiguous", fix=f"tap {what} that is called once"
                )
        found.update(dict.fromkeys(called))
    return sorted(found, key=lambda name: known.order[name])


def _of_class(module: nn.Module, wanted: str, pattern: str, matching: Sequence[str], known: Named) -> list[str]:
    classes = {name: type(module.get_submodule(name)).__name__ for name in matching if name in known.modules}
    if not classes:
        raise RecordError(f"{pattern!r} matches values of functions, which have no class", fix="leave class out")
    found = [name for name, its in classes.items() if its == wanted]
    if not found:
        raise RecordError(f"{pattern!r} matches no submodule of class {wanted}", fix=suggest(wanted, set(classes.values())))
    return found


def _nothing(module: nn.Module, pattern: str, known: Named) -> Problem:
    """A glob that matches nothing: the nearest names at the pattern's own depth are what a person looks for there."""
    if (whole := _scripted(module, pattern)) is not None:
        return whole
    names = [*known.modules, *known.inside]
    alike = {name: _with_globs_of(pattern, name) for name in names if name.count(".") == pattern.count(".")}
    fix = suggest(pattern, dict.fromkeys(glob if globs.matches(glob, name) else name for name, glob in alike.items()) or names)
    return Problem(f"{pattern!r} matches no submodule and no value", fix=fix)


def _with_globs_of(pattern: str, name: str) -> str:
    """A name with the parts of a pattern that hold a glob in the place of its own."""
    return ".".join(part if set(part) & set("*?[") else own for part, own in zip(pattern.split("."), name.split("."), strict=True))


def _never_called(module: nn.Module, pattern: str, name: str, known: Named) -> Problem:
    if (whole := _scripted(module, name)) is not None:
        return whole
    message = f"{pattern!r} matches only modules that are never called: {name}"
    if any(other.startswith(f"{name}.") for other in known.calls):
        return Problem(message, fix=f"tap its parts: {name}.*")
    outer = next((path for path in _above(name) if path in known.calls), None)
    return Problem(message, fix=f"tap what it is a part of: {outer}" if outer else "tap a submodule that takes part in the forward")


def _trained_only(module: nn.Module, pattern: str, known: Named, trained: Sequence[Call]) -> Problem | None:
    """That a glob matches what runs in train mode alone, if it does, with the nearest tap before it that runs in both modes."""
    both = Named.of(module, trained)
    name = next((name for name in both.matching(pattern) if name in both.calls), None)
    if name is None:
        return None
    waiting, usable = list(both.calls[name].reads), dict[str, None]()
    while waiting and not usable:
        calls = [trained[position] for position in waiting]
        usable = {call.path: None for call in calls if known.counts.get(call.path) == 1 and known.calls[call.path].type is not None}
        waiting = [position for call in calls for position in call.reads]
    tap = next((path for path in usable if path in known.modules), next(iter(usable), None))
    fix = f"tap what it reads in both modes: {tap}" if tap is not None else "tap a value that both modes compute"
    return Problem(f"{pattern!r} matches only what is called in train mode alone: {name}", fix=fix)


def _above(name: str) -> Iterator[str]:
    """The paths that a name lies below, the nearest first."""
    while name := name.rpartition(".")[0]:
        yield name


def _scripted(module: nn.Module, name: str) -> Problem | None:
    """That a name lies inside a scripted module, if it does: no Python runs there that could be listened to."""
    modules = dict(paths_of(module))
    outer = [path for path in _above(name) if isinstance(modules.get(path), torch.jit.ScriptModule)]
    if not outer:
        return None
    return Problem(f"{name!r} lies inside {outer[-1]!r}, a scripted module, which runs as a whole", fix=f"tap {outer[-1]}")


def _unreadable(request: TapRequest, call: Call) -> Problem | None:
    """Why a tap's value is none that a link can read."""
    name = request.name
    if request.select is not None:
        if call.type is not None:
            return Problem(f"tap {name!r} is one tensor, so it has no output {request.select!r}", request.where, fix="leave output out")
        if request.select in call.parts:
            return None
        keys = " | ".join(map(str, call.parts))
        return Problem(f"tap {name!r} has no output {request.select!r}", request.where, fix=f"output: {keys}" if keys else "another tap")
    if call.type is None:
        message = f"tap {name!r} returns a {call.kind}, not a tensor"
        if not call.parts:
            return Problem(message, request.where, fix="tap a submodule that returns a tensor")
        keys = " | ".join(map(str, call.parts))
        return Problem(message, request.where, fix=f"name one of its parts: {{match: {name}, output: {keys}}}")
    return None


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


def tap_node(recording: Recording, request: TapRequest) -> fx.Node:
    """The node that holds a tap's value.

    Raises:
        RecordError: The network reads no such part, or does not run the same way twice.
    """
    if request.select is not None:
        node = recording.parts.get((request.name, request.select))
        if node is None:
            raise RecordError(
                f"tap {request.name!r} has no output {request.select!r} that the network reads",
                where=request.where,
                fix="name a part that is a tensor and is read",
            )
        return node
    node = recording.values.get(request.name)
    if node is None or type_of(node) != request.found:
        raise RecordError(
            f"tap {request.name!r} was {request.found} in one run and {'not there' if node is None else type_of(node)} in the next",
            where=request.where,
            fix="tap the value of a submodule",
        )
    return node
