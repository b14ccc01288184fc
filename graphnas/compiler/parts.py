"""Large images are not computed with: a recording is made on a part of them, and what is recorded of the whole is only its sizes.

A forward of a large dense network takes seconds a sample, and a recording takes many. So the same is run twice, really on a part of the
images, and on the whole of them on torch's meta device, where tensors have sizes and no values. Only if both do the same, call by call and
node by node, constants included, the part stands for the whole: the values then come from the one and the sizes from the other. Otherwise,
as where a network takes images of one size alone or asks for values, everything runs on the whole images.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, fx, nn

from graphnas.compiler.calls import Call, run_log
from graphnas.compiler.meta import set_type, type_of
from graphnas.compiler.record import Recording
from graphnas.compiler.torch_typed import random_state_kept, without_values
from graphnas.compiler.verify import cropped, has_large_images, shape_of, untouched

_PART = (96, 64)  # pixels: not square, and divided by what networks divide images by


@dataclass(frozen=True)
class Hollow:
    """A copy of a module, and inputs, that have no values."""

    module: nn.Module
    arguments: Mapping[str, Tensor]

    @staticmethod
    def of(module: nn.Module, arguments: Mapping[str, Tensor]) -> Hollow:
        return Hollow(without_values(module), {name: value.to("meta") for name, value in arguments.items()})


@dataclass(frozen=True)
class Example:
    """Inputs to record a module with.

    Args:
        whole: By name, batch first.
        part: The same samples with a part of each image, if it stands for the whole.
        hollow: The module and the whole inputs without values, if so.
    """

    whole: Mapping[str, Tensor]
    part: Mapping[str, Tensor] | None = None
    hollow: Hollow | None = None


def part_of(arguments: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The same samples with a part of each image; ``None`` if there are no large images among them."""
    return cropped(arguments, *_PART) if has_large_images(arguments) else None


def logged(module: nn.Module, arguments: Mapping[str, Tensor]) -> tuple[list[Call], Example]:
    """Every call of one run in eval mode, as ``run_log`` tells them, and what to record the module with.

    Args:
        module: Left as it was.
        arguments: Its inputs by name.
    """
    if (part := part_of(arguments)) is not None:
        with contextlib.suppress(Exception):  # whatever a module raises: it does not take the part, or asks for values
            with untouched(module):
                small = run_log(module.eval(), part)
            hollow = Hollow.of(module, arguments)
            with random_state_kept():
                large = run_log(hollow.module.eval(), hollow.arguments)
            if [_but_sizes(call) for call in small] == [_but_sizes(call) for call in large]:
                calls = [dataclasses.replace(one, type=other.type, parts=other.parts) for one, other in zip(small, large, strict=True)]
                return calls, Example(arguments, part, hollow)
    with untouched(module):
        return run_log(module.eval(), arguments), Example(arguments)


def _but_sizes(call: Call) -> object:
    return call.path, call.function, call.reads, call.kind, type(call.type), [(key, type(part)) for key, part in call.parts.items()]


def of_whole(recording: Recording, large: fx.Graph) -> Recording | None:
    """A recording of a part with the types of that of the whole; ``None`` where the two are not the same."""
    if shape_of(recording.graph) != shape_of(large):
        return None
    for node, other in zip(recording.graph.nodes, large.nodes, strict=True):
        set_type(node, type_of(other))
    return recording
