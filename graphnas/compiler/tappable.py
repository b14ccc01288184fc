"""What can be tapped in a module, in order of execution: submodules and the values of functions, with types, resolutions and stages."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphnas.compiler import intercept
from graphnas.compiler.branch import log_in_train_mode
from graphnas.compiler.calls import Call, run_log, type_of_value
from graphnas.compiler.checked import ancestors_of
from graphnas.compiler.record import record
from graphnas.compiler.stages import default_taps, first_recorded, no_default
from graphnas.compiler.tap_types import TapType, told_types
from graphnas.compiler.taps import Named, TapRequest, resolve_taps
from graphnas.compiler.torch_typed import paths_of
from graphnas.errors import RecordError
from graphnas.graph.types import Image, Other, Tokens, ValueType
from graphnas.spec.network import NetworkSpec, TapSpec


@dataclass(frozen=True)
class Tappable:
    """A submodule, or the value of a function.

    Args:
        name: What a tap names it by.
        made_by: The submodule's class, or the function's name.
        function: Whether it is a function's value.
        type: The type of its value; an image's with the channels first in any case.
        channels_last: Whether it is an image that comes as (N, H, W, C).
        resolution: Its share of the input's height, in words: ``1/4``.
        stage: The stage that it lies in by default.
        why_not: Why it can't be tapped as it is, and what to do instead.
    """

    name: str
    made_by: str
    function: bool
    type: ValueType | None = None
    channels_last: bool = False
    resolution: str | None = None
    stage: str | None = None
    why_not: str | None = None


@dataclass(frozen=True)
class Listing:
    """All of a module.

    Args:
        values: Those that ran in order of execution, then the others.
        stages: The stages by default; empty where none are known.
    """

    values: tuple[Tappable, ...]
    stages: Mapping[str, TapSpec]


def list_taps(module: nn.Module, arguments: Mapping[str, Tensor], spec: NetworkSpec | None = None) -> Listing:
    """What can be tapped in a module.

    Args:
        module: In eval mode; on the meta device it costs nothing to run.
        arguments: Its inputs by name, batch first.
        spec: The network spec that it was built from: its taps are the stages, where it names some.
    """
    log = run_log(module, arguments)
    known = Named.of(module, log)
    modules = dict(paths_of(module))
    stages = spec.taps if spec is not None and isinstance(spec.taps, Mapping) and spec.taps else _default(module, log, arguments)
    stage_of = {request.name: request for request in resolve_taps(module, stages, log, spec)}
    inputs = [type_of_value(value) for value in arguments.values()]
    names = sorted((name for name in (*known.modules, *known.inside) if name in known.calls), key=known.order.__getitem__)
    requests = [stage_of.get(name) or TapRequest("", 0, name, found=known.calls[name].type) for name in names]
    types = told_types(module, requests, log, inputs)
    size = next(((value.height, value.width) for value in inputs if isinstance(value, Image)), None)
    found: list[Tappable] = []
    for request in requests:
        call, told = known.calls[request.name], types[request.name]
        made_by = re.sub(r"_\d+$", "", request.name.rpartition(".")[2]) if call.function else type(modules[request.name]).__name__
        why_not = _why_not(request, call, known.counts[request.name])
        if call.function and why_not is not None:
            continue
        type_, last = (told.type, told.channels_last) if isinstance(told, TapType) else (call.type, False)
        stage = request.stage or None
        found.append(Tappable(request.name, made_by, call.function, type_, last, _resolution(type_, size), stage, why_not))
    never = [name for name in known.modules if name not in known.calls]
    trained = {call.path for call in log_in_train_mode(module, arguments)} if never else set[str]()
    found += [Tappable(name, type(modules[name]).__name__, False, why_not=_never(modules[name], name, known, trained)) for name in never]
    return Listing(tuple(found), stages)


def _default(module: nn.Module, log: Sequence[Call], arguments: Mapping[str, Tensor]) -> Mapping[str, TapSpec]:
    """The stages by default that a recorder takes; none, where there are none."""

    def recorded(taps: Mapping[str, TapSpec]) -> Mapping[str, TapSpec]:
        ancestors = ancestors_of(request.name for request in resolve_taps(module, taps, log, None))
        try:
            record(module, arguments, ancestors=ancestors)
        except RecordError:
            with intercept.exporting():
                record(module, arguments, ancestors=ancestors)
        return taps

    try:
        return first_recorded(default_taps(module, log, arguments), recorded, no_default(module))
    except RecordError:
        return {}


def _why_not(request: TapRequest, call: Call, count: int) -> str | None:
    if count > 1:
        return f"called {count} times"
    if request.select is not None:
        return None
    if call.type is None:
        parts = " | ".join(map(str, call.parts))
        return f"returns a {call.kind}" + (f": output: {parts}" if parts else "")
    return f"is {call.type}, which no link can read" if isinstance(call.type, Other) else None


def _never(module: nn.Module, name: str, known: Named, trained: Collection[str]) -> str:
    if name in trained:
        return "called in train mode only"
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        return f"never called itself: {name}.*"
    if isinstance(module, torch.jit.ScriptModule):
        return "never called by Python"
    return f"never called itself: {name}.*" if any(other.startswith(f"{name}.") for other in known.calls) else "never called"


def _resolution(type: ValueType | None, size: tuple[int, int] | None) -> str | None:
    """A value's height as a share of the input's; ``None`` if it has none, or other proportions."""
    if size is None or not (isinstance(type, Image) or (isinstance(type, Tokens) and type.grid is not None)):
        return None
    rows, columns = (type.height, type.width) if isinstance(type, Image) else type.grid or (0, 0)
    if abs(rows - columns * size[0] / size[1]) >= 1 + (size[0] != size[1]):
        return None
    share = size[0] / rows
    if share < 1:
        return f"{1 / share:g}"
    return "1" if share == 1 else f"1/{round(share)}" if abs(share - round(share)) * rows < round(share) else f"1/{share:.1f}"
