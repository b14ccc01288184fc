"""Which of the things that a module returns is its prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx, nn

from graphnas.compiler.meta import type_of
from graphnas.compiler.narrowing import fields_of, is_list, is_mapping, is_tuple
from graphnas.errors import RecordError

_DEFAULT_OUTPUTS = ("prediction", "logits", "out", "sample")  # names under which models are known to return their prediction


def prediction_node(graph: fx.Graph, output: str | int | None, module: nn.Module) -> fx.Node:
    [returned] = graph.output_node().args
    if isinstance(returned, fx.Node):
        parts = (
            {0: returned} if type_of(returned) is not None else dict(returned.kwargs)
        )  # a class of outputs, built from keyword arguments
    else:
        parts = parts_of(returned)
    tensors = {key: part for key, part in parts.items() if isinstance(part, fx.Node) and type_of(part) is not None}
    key = chosen(tensors, output)
    if key is None:
        wanted = "" if output is None else f"has no output {output!r}; it "
        raise RecordError(
            f"{type(module).__name__} {wanted}returns {len(tensors)} tensors: {', '.join(map(str, tensors))}",
            fix="say which is the prediction: output=" + (repr(next(iter(tensors))) if tensors else "NAME"),
        )
    return tensors[key]


def parts_of(returned: Any) -> dict[Any, Any]:
    """The named, or numbered, parts of what a module returns."""
    if is_mapping(returned):
        return dict(returned)
    if (named := fields_of(returned)) is not None:
        return named
    return dict(enumerate(returned)) if is_tuple(returned) or is_list(returned) else {}


def chosen(parts: Mapping[Any, Any], output: str | int | None) -> Any:
    """The key of the prediction; ``None`` if it is not clear."""
    tensors = [key for key, part in parts.items() if isinstance(part, (Tensor, fx.Node))]
    if output is not None:
        return output if output in tensors else None
    named = [name for name in _DEFAULT_OUTPUTS if name in tensors]
    return tensors[0] if len(tensors) == 1 else named[0] if named else None
