"""A recording that holds at any image size that its module takes, for a module whose own size is special.

At its own size, a vision transformer leaves its position embedding as it is, and elsewhere it resizes it: what is recorded at that size
fits no other, and what is recorded at another fits all, this one included.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import interpolate

from graphnas.compiler.calls import type_of_value
from graphnas.compiler.checked import Checked, checked_recording
from graphnas.compiler.meta import set_type, type_of
from graphnas.compiler.modes import Key
from graphnas.compiler.parts import Example
from graphnas.compiler.record import Recording
from graphnas.compiler.verify import require_same, untouched
from graphnas.errors import RecordError

_SCALES = ((1, 2), (2, 1))  # the cheaper first


def for_any_size(module: nn.Module, example: Example, taps: Collection[Key], output: str | int | None, found: Checked) -> Checked:
    """A recording made at half or twice the size, where the one that was found goes wrong at other sizes and this one does not.

    Args:
        module: Left as it was.
        example: Its inputs, of the size that ``found`` was recorded at.
        taps: As for ``checked_recording``.
        output: As for ``checked_recording``.
        found: A recording at the size of the example.
    Returns:
        One that is right at this size and at others, with the types of this size; the one that was found, if there is none.
    """
    for scale in _SCALES if found.fixed_size else ():
        other = _at_another_size(module, example.whole, taps, output, found, scale)
        if other is not None:
            return other
    return found


def _at_another_size(
    module: nn.Module,
    arguments: Mapping[str, Tensor],
    taps: Collection[Key],
    output: str | int | None,
    found: Checked,
    scale: tuple[int, int],
) -> Checked | None:
    scaled = {name: _scaled(value, *scale) for name, value in arguments.items()}
    try:
        other = checked_recording(module, Example(scaled), taps=taps, output=output)
        require_same(module, other.recording.graph, arguments)  # raises where it is wrong at this size
    except RecordError as error:  # it does not take this size, or is another function there
        logging.getLogger(__name__).debug("%s at %d/%d of its size: %s", type(module).__name__, *scale, error)
        return None
    if other.fixed_size:
        return None
    ours, theirs = (_values(module, checked.recording.graph, arguments) for checked in (found, other))
    for key in taps:  # a value's name counts the functions of a forward, which are others at another size
        before, now = _node(found.recording, key), _node(other.recording, key)
        if before is None or now is None or not _same(ours.get(before), theirs.get(now)):
            return None
    for node, value in theirs.items():
        if type_of(node) is not None:
            set_type(node, type_of_value(value))
    return other


def _scaled(value: Tensor, numerator: int, denominator: int) -> Tensor:
    """An image with other rows and columns; anything else as it is."""
    if value.dim() != 4:
        return value
    rows, columns = (max(size * numerator // denominator, 1) for size in value.shape[2:])
    return interpolate(value, size=(rows, columns))


def _values(module: nn.Module, graph: fx.Graph, arguments: Mapping[str, Tensor]) -> dict[fx.Node, Any]:
    """What every node of a recording is in eval mode, as it was made."""
    found: dict[fx.Node, Any] = {}

    class Watched(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            found[n] = value.clone() if isinstance(value, Tensor) else value
            return value

    with untouched(module), torch.no_grad():
        replayed = fx.GraphModule(module.eval(), graph).eval()
        Watched(replayed).run(*(arguments[str(node.target)] for node in graph.find_nodes(op="placeholder")))
    return found


def _node(recording: Recording, key: Key) -> fx.Node | None:
    name, part = key
    return recording.values.get(name) if part is None else recording.parts.get((name, part))


def _same(first: Any, second: Any) -> bool:
    return isinstance(first, Tensor) and isinstance(second, Tensor) and torch.equal(first, second)
