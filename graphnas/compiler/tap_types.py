"""What the values of taps are to links: the shapes of one run x what the network tells, or the tap names, of patches and layout."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from graphnas.compiler.calls import Call
from graphnas.compiler.taps import TapRequest
from graphnas.compiler.torch_typed import paths_of
from graphnas.errors import Problem, RecordError
from graphnas.graph.types import Image, Other, Tokens, ValueType
from graphnas.ops.base import TypeRuleError
from graphnas.ops.patches import Network

_CONVOLUTION = re.compile(r"(.*\.)?conv2d(_\d+)?")


@dataclass(frozen=True)
class TapType:
    """The type of a tap's value, and whether it is an image that comes as (N, H, W, C)."""

    type: ValueType
    channels_last: bool = False


def tap_types(
    module: nn.Module, requests: Sequence[TapRequest], log: Sequence[Call], inputs: Iterable[ValueType | None]
) -> dict[str, TapType]:
    """Name of each tap -> the type of its value.

    Args:
        module: The network.
        requests: The taps.
        log: The calls of the run that the taps were found in.
        inputs: The types of the network's inputs.
    Raises:
        RecordError: A value that no link can read, or a tap that names patches or a layout that its value can't have: all at once.
    """
    told = told_types(module, requests, log, inputs)
    wanted = {request.name: request for request in requests}
    problems = [
        Problem(f"tap {request.name!r}: {error}", request.where, fix=error.fix)
        for name, error in told.items()
        if isinstance(error, TypeRuleError) and (request := wanted[name])
    ]
    if problems:
        raise RecordError(problems)
    return {name: found for name, found in told.items() if isinstance(found, TapType)}


def told_types(
    module: nn.Module, requests: Sequence[TapRequest], log: Sequence[Call], inputs: Iterable[ValueType | None]
) -> dict[str, TapType | TypeRuleError]:
    """As ``tap_types``, with what is wrong with a tap in the place of its type; in order of execution."""
    network = Network(module, inputs)
    convolutions = {path for path, submodule in paths_of(module) if isinstance(submodule, nn.Conv2d)}
    wanted = {request.name: request for request in requests}
    found: dict[str, TapType | TypeRuleError] = {}
    for call in log:
        if call.path in convolutions or (call.function and _CONVOLUTION.fullmatch(call.path)):
            network.note(call.type)
        if (request := wanted.get(call.path)) is not None:
            try:
                found[request.name] = _tap_type(network, request)
            except TypeRuleError as error:
                found[request.name] = error
    return found


def _tap_type(network: Network, request: TapRequest) -> TapType:
    value = request.found
    if isinstance(value, Tokens):
        if request.layout is not None:
            raise TypeRuleError(f"{value} has no layout", fix="leave layout out")
        return TapType(_tokens(network, request, value))
    if request.prefix is not None or request.grid is not None:
        raise TypeRuleError(f"{value} has no patches", fix="leave prefix and grid out")
    if isinstance(value, Image):
        return _image(network, request, value)
    if value is None or isinstance(value, Other):
        raise TypeRuleError(f"no link can read {value}", fix="tap an image, tokens or a vector")
    return TapType(value)


def _tokens(network: Network, request: TapRequest, value: Tokens) -> ValueType:
    if request.prefix is None and request.grid is None:
        found = network.reordered(value, request.name)
        return found if found.order is not None else network.with_patches(value, request.name)
    return network.named_patches(value, request.name, request.prefix, request.grid)


def _image(network: Network, request: TapRequest, value: Image) -> TapType:
    if request.layout is None and not network.channels_last(request.name):
        if network.looks_channels_last(value):
            raise TypeRuleError(
                f"sizes {list(value.shape)} have the proportions of the input only if the channels come last",
                fix="layout: nhwc; or layout: nchw, if they do come first",
            )
        return TapType(value)
    if request.layout == "nchw":
        return TapType(value)
    return TapType(Image(value.width, value.channels, value.height), channels_last=True)
