"""``Branch``: a user's network, recorded as deep as its taps need."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, fx, nn

from graphnas.compiler.any_size import for_any_size
from graphnas.compiler.calls import Call, run_log, type_of_value
from graphnas.compiler.checked import ancestors_of, checked_recording, failing
from graphnas.compiler.detached import require_detachable
from graphnas.compiler.given import arguments_of, require_module, taps_of
from graphnas.compiler.inputs import in_precision_of
from graphnas.compiler.outputs import prediction_in
from graphnas.compiler.parts import Example, logged
from graphnas.compiler.plain import names_of, typed_graph
from graphnas.compiler.record import refuse_opaque
from graphnas.compiler.stages import default_taps, first_recorded, no_default
from graphnas.compiler.tap_types import TapType, tap_types
from graphnas.compiler.taps import TapRequest, resolve_taps, tap_node
from graphnas.compiler.verify import larger, materialize, untouched
from graphnas.errors import RecordError
from graphnas.graph.graph import Graph, Tap
from graphnas.spec.network import NetworkSpec, TapSpec


@dataclass(frozen=True, eq=False)
class Branch:
    """The single-task network of one task, recorded; the module itself stays the user's and is not changed.

    Args:
        module: The user's module, as given.
        recorded: Its graph; targets are relative to the module. One ``call_module`` node for every module that holds no tap below it.
        example: The inputs it was recorded with, by name, batch first.
        prediction: The node that holds the prediction.
        taps: In order of execution.
        tap_nodes: Name of each tap -> its node in ``recorded``.
        changed: Names of the taps whose value the network itself later changes in place.
        fixed_size: Whether the module works at other image sizes and its recording gives other results there: a size was baked in.
        fixed_precision: Whether the module works under autocast and its recording gives other results there.
        graph: The same as plain data.
        requested: Stage -> the taps as they were asked for.
        spec: The network spec that it was built from, if it was.
        output: Which of the module's outputs is the prediction, if it returns several.
        rebuild: Makes a fresh network of the same kind, if that is known how.
        weights: A line on each set of weights that it starts from, and on what was new in it.
    """

    module: nn.Module
    recorded: fx.Graph
    example: Mapping[str, Tensor]
    prediction: fx.Node
    taps: tuple[Tap, ...]
    tap_nodes: Mapping[str, fx.Node]
    changed: frozenset[str]
    fixed_size: bool
    fixed_precision: bool
    graph: Graph
    requested: Mapping[str, TapSpec]
    spec: NetworkSpec | None = None
    output: str | int | None = None
    rebuild: Callable[[], nn.Module] | None = None
    weights: tuple[str, ...] = ()

    @staticmethod
    def from_module(
        module: nn.Module,
        *,
        taps: Mapping[str, Any] | None = None,
        example: Tensor | Mapping[str, Tensor],
        output: str | int | None = None,
        spec: NetworkSpec | None = None,
        rebuild: Callable[[], nn.Module] | None = None,
    ) -> Branch:
        """Record a module.

        Args:
            module: Any module. Its buffers, mode and the random state are left as they were; its parameters are shared, not copied.
            taps: Stage -> globs of the names of submodules and of values inside them (or what a spec's ``taps:`` holds: ``{match, split,
                class, output, layout}``); left out, stages found by how the module is built.
            example: The forward's first argument, (N, ...), or its arguments by name.
            output: Which of the outputs is the prediction, if the module returns several: a name, or an index.
            spec: The network spec that the module was built from; its lines are named in messages.
            rebuild: Makes a fresh module of the same kind; left out, a copy of this one is taken where one is needed.
        Returns:
            The branch, checked: bitwise equal to the module in eval and train mode, and with another batch size.
        Raises:
            RecordError: A tap that is not there, no stages known by default, or a forward that a graph can't hold; names the line and why.
        """
        require_module(module)
        refuse_opaque("", module)
        arguments = arguments_of(module, example)
        wanted = None if taps is None else taps_of(taps)
        log, inputs = _log(module, arguments)
        if wanted is not None:
            return Branch._recorded(module, inputs, wanted, log, output, spec, rebuild)
        return first_recorded(
            default_taps(module, log, arguments),
            lambda wanted: Branch._recorded(module, inputs, wanted, log, output, spec, rebuild),
            no_default(module, spec),
        )

    @staticmethod
    def _recorded(
        module: nn.Module,
        inputs: Example,
        wanted: Mapping[str, TapSpec],
        log: Sequence[Call],
        output: str | int | None,
        spec: NetworkSpec | None,
        rebuild: Callable[[], nn.Module] | None,
    ) -> Branch:
        arguments = inputs.whole
        requests = resolve_taps(module, wanted, log, spec, trained=lambda: log_in_train_mode(module, arguments))
        types = tap_types(module, requests, log, map(type_of_value, arguments.values()))
        keys = [(request.name, request.select) for request in requests]
        checked = for_any_size(module, inputs, keys, output, checked_recording(module, inputs, taps=keys, output=output))
        recording = checked.recording
        tap_nodes = {request.name: tap_node(recording, request) for request in requests}
        _require_distinct(tap_nodes, requests)
        names = names_of(recording.graph, tap_nodes)
        found = tuple(_tap(request, types[request.name], names[tap_nodes[request.name]]) for request in requests)
        small = arguments if checked.fixed_size or inputs.part is None else inputs.part
        recorded, changed = recording.graph, _changed(requests, recording.changed)
        require_detachable(module, recorded, {name: tap_nodes[name] for name in tap_nodes if name in changed}, small)
        return Branch(
            module, recorded, arguments, checked.prediction, found, tap_nodes,
            changed, checked.fixed_size, checked.fixed_precision,
            typed_graph(module, recorded, names, found, checked.prediction, spec), wanted, spec, output, rebuild,
        )  # fmt: skip

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in the forward's order."""
        return tuple(str(node.target) for node in self.recorded.nodes if node.op == "placeholder")

    @property
    def ancestors(self) -> frozenset[str]:
        """Paths of the modules that were looked into, ``""`` for the module itself."""
        return ancestors_of(self.tap_nodes)

    def prediction_of(self, returned: Any) -> Tensor:
        """The prediction in what the module returns."""
        found = returned if isinstance(returned, Tensor) else prediction_in(returned, self.output)
        assert isinstance(found, Tensor)
        return found

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one forward of one sample, as torch's flop counter counts them."""
        from graphnas.compiler.macs import count_macs

        with untouched(self.module):
            return count_macs(self.module.eval(), in_precision_of(self.module, self.example))


def _log(module: nn.Module, arguments: Mapping[str, Tensor]) -> tuple[list[Call], Example]:
    try:
        materialize(module, arguments)
        return logged(module, arguments)
    except Exception as error:
        raise failing(module, arguments, error, training=False) from error


def log_in_train_mode(module: nn.Module, arguments: Mapping[str, Tensor]) -> list[Call]:
    """Every call of a run in train mode, of one more sample; none, where the module fails in it."""
    with untouched(module), contextlib.suppress(Exception):  # what does not train says so where it is recorded
        return run_log(module.train(), larger(arguments))
    return []


def _changed(requests: Sequence[TapRequest], changed: frozenset[tuple[str, int | str | None]]) -> frozenset[str]:
    return frozenset(request.name for request in requests if (request.name, request.select) in changed)


def _tap(request: TapRequest, found: TapType, node: str) -> Tap:
    return Tap(request.stage, request.index, request.name, node, found.type, request.where, found.channels_last)


def _require_distinct(tap_nodes: Mapping[str, fx.Node], requests: Sequence[TapRequest]) -> None:
    seen: dict[fx.Node, str] = {}
    for request in requests:
        if (other := seen.setdefault(tap_nodes[request.name], request.name)) != request.name:
            raise RecordError(f"taps {other!r} and {request.name!r} are the same value", where=request.where, fix="name one of them")
