"""A module recorded in both modes, as one graph that is compared with the module; or an error that says what to do.

First as the module runs; where its forward looks into the data, once more as if it were exported, for which many forwards have a way that
does not. What the comparison does not confirm is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, fx, nn

from graphnas.compiler import intercept, reading
from graphnas.compiler.given import fitting_example
from graphnas.compiler.modes import Key, Merged, Pair, merge
from graphnas.compiler.outputs import only_tensor, prediction_in, prediction_node
from graphnas.compiler.parts import Example, of_whole
from graphnas.compiler.record import Recording, record
from graphnas.compiler.refusal import Difference, Refusal
from graphnas.compiler.torch_typed import paths_of, seed
from graphnas.compiler.user_code import failed_line
from graphnas.compiler.verify import batch_of, failure, first_difference, larger, shape_of, untouched, verify
from graphnas.errors import RecordError


@dataclass(frozen=True)
class Checked:
    """A recording that holds for both modes.

    Args:
        recording: Of both modes, with the wanted taps.
        prediction: The node of the module's prediction.
        fixed_size: Whether other image sizes go wrong.
        fixed_precision: Whether autocast goes wrong.
    """

    recording: Recording
    prediction: fx.Node
    fixed_size: bool
    fixed_precision: bool


def checked_recording(module: nn.Module, example: Example, *, taps: Collection[Key], output: str | int | None) -> Checked:
    """Record a module, and compare.

    Args:
        module: Left as it was.
        example: Its inputs.
        taps: Names of the wanted values, and keys of their parts: what holds them is looked into.
        output: Which of the outputs is the prediction.
    Raises:
        RecordError: A forward that a graph can't hold; names the line, why, and the nearest tap with which it can be held.
    """
    if (read := _read(module, example, taps, output)) is not None:
        return read
    try:
        return _cascade(module, example, taps, output)
    except Refusal as error:
        problem = error
    path = _nearest(module, example, problem.path, output)
    raise problem.with_tap(path) from problem.__cause__


def ancestors_of(names: Iterable[str]) -> frozenset[str]:
    """The modules that hold values of these names, ``""`` for the module itself."""
    found = {""}
    for name in names:
        parts = name.split(".")
        found.update(".".join(parts[:i]) for i in range(1, len(parts)))
    return frozenset(found)


def _read(module: nn.Module, example: Example, taps: Collection[Key], output: str | int | None) -> Checked | None:
    """The recording of a network that was lowered from its spec; ``None`` where it has to be recorded, or fails."""
    ancestors = ancestors_of(name for name, _ in taps)
    if not reading.reads(module, ancestors):
        return None
    try:
        recording = reading.read(module, example, ancestors)
    except Exception:  # noqa: BLE001 - whatever a module of a plugin raises: recording it finds out what there is to say
        return None
    return Checked(recording, prediction_node(recording.graph, output, module), fixed_size=False, fixed_precision=False)


def _nearest(module: nn.Module, example: Example, path: str, output: str | int | None) -> str | None:
    """The innermost module around a fault that can be a tap as a whole, found by trial."""
    while path:
        try:
            if path in _cascade(module, example, [(path, None)], output).recording.values:
                return path
        except RecordError:
            pass
        path = path.rpartition(".")[0]
    return None


def _cascade(module: nn.Module, example: Example, taps: Collection[Key], output: str | int | None) -> Checked:
    try:
        return _attempt(module, example, taps, output)
    except Refusal as error:
        if not error.data_dependent:
            raise
        try:
            return _attempt(module, example, taps, output, exporting=True)
        except Refusal as other:
            looks = other.data_dependent or isinstance(other, Difference)
            raise (error if looks else other) from None


def _attempt(module: nn.Module, example: Example, taps: Collection[Key], output: str | int | None, *, exporting: bool = False) -> Checked:
    ancestors = ancestors_of(name for name, _ in taps)
    evaluated = _recorded_or_sized(module, example, ancestors, training=False, exporting=exporting)
    trained = _recorded_or_sized(module, example, ancestors, training=True, exporting=exporting)
    merged = _merged(module, evaluated, trained, taps, output)
    graph = merged.recording.graph
    try:
        fixed_size, fixed_precision = verify(module, graph, example.whole, example.part)
    except Difference as error:
        with untouched(module):
            path = error.path or first_difference(module, {False: evaluated, True: trained}, example.whole)
        begins = f"; it begins in {path}" if path and not error.path else ""
        raise Difference(f"{error.message}{begins}", path=path, otherwise=error.otherwise) from None
    return Checked(merged.recording, merged.prediction, fixed_size, fixed_precision)


def _recorded_or_sized(module: nn.Module, example: Example, ancestors: frozenset[str], *, training: bool, exporting: bool) -> Recording:
    """The recording of the whole images, without computing with them where a part stands for them."""
    if example.part is not None and example.hollow is not None:
        with contextlib.suppress(Exception):  # whatever there is to say is said of the whole images
            small = _recorded(module, example.part, ancestors, training=training, exporting=exporting)
            large = _recorded(example.hollow.module, example.hollow.arguments, ancestors, training=training, exporting=exporting)
            if (recording := of_whole(small, large.graph)) is not None:
                return recording
    return _recorded(module, example.whole, ancestors, training=training, exporting=exporting)


def _recorded(
    module: nn.Module, arguments: Mapping[str, Tensor], ancestors: frozenset[str], *, training: bool, exporting: bool
) -> Recording:
    given = arguments
    if training and batch_of(arguments) == 1 and failure(module, arguments, training=True) is not None:
        given = larger(arguments)  # batch norm needs more than one value a channel
    with untouched(module):
        module.train(training)
        seed(0)  # each time: a choice that is not torch's falls alike, and is found out by ``verify``
        try:
            if exporting:
                with intercept.exporting():
                    return record(module, given, ancestors=ancestors)
            return record(module, given, ancestors=ancestors)
        except Refusal as error:
            if error.__cause__ is None:
                raise
            cause = error
    if (own := failure(module, arguments, training=training)) is not None:
        raise failing(module, arguments, own, training=training) from own
    raise cause


def failing(module: nn.Module, arguments: Mapping[str, Tensor], error: Exception, *, training: bool) -> RecordError:
    """What is said where a module fails by itself, on the inputs that it is to be recorded with."""
    shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in arguments.items())
    first = (str(error).splitlines() or ["without a message"])[0]
    name, line = type(module).__name__, failed_line(error, module)
    mode = "in train mode " if training else ""
    return RecordError(
        f"{name} itself fails {mode}on the example {shapes}: {type(error).__name__}: {first} at {line}",
        fix="give an example that it takes in both modes" if training else fitting_example(module, arguments),
    )


def _merged(module: nn.Module, evaluated: Recording, trained: Recording, taps: Collection[Key], output: str | int | None) -> Merged:
    if shape_of(evaluated.graph) == shape_of(trained.graph):
        changed = evaluated.changed | trained.changed
        recording = Recording(evaluated.graph, evaluated.values, evaluated.parts, changed)
        return Merged(recording, prediction_node(evaluated.graph, output, module))
    paths = frozenset(path for path, _ in paths_of(module))
    return merge(evaluated, trained, prediction=_predictions(module, evaluated, trained, output), paths=paths, taps=taps)


def _predictions(module: nn.Module, evaluated: Recording, trained: Recording, output: str | int | None) -> Pair:
    """By name in each mode; a mode that returns one tensor and nothing else returns the prediction."""
    found: list[fx.Node] = []
    graphs = [evaluated.graph, trained.graph]
    known = [prediction_in(graph.output_node().args[0], output) for graph in graphs]
    for graph, node in zip(graphs, known, strict=True):
        alone = only_tensor(graph) if any(other is not None for other in known) else None
        found.append(node if node is not None else alone if alone is not None else prediction_node(graph, output, module))
    return Pair(*found)
