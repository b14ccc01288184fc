"""Which of the things that a module returns is its prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx, nn

from graphnas.compiler.meta import type_of
from graphnas.compiler.narrowing import fields_of, is_list, is_mapping, is_namedtuple, is_tuple
from graphnas.errors import RecordError

_DEFAULT_OUTPUTS = ("prediction", "logits", "out", "sample")  # names under which models are known to return their prediction


def prediction_node(graph: fx.Graph, output: str | int | None, module: nn.Module) -> fx.Node:
    """The node of the prediction.

    Raises:
        RecordError: The module returns several tensors, and it is not clear which one is meant.
    """
    [returned] = graph.output_node().args
    found = prediction_in(returned, output)
    if found is None:
        tensors = _names(returned)
        wanted = "" if output is None else f"has no output {output!r}; it "
        raise RecordError(
            f"{type(module).__name__} {wanted}returns {len(tensors)} tensors: {', '.join(map(str, tensors))}",
            fix="say which is the prediction: output=" + (repr(tensors[0]) if tensors else "NAME"),
        )
    return found


def only_tensor(graph: fx.Graph) -> fx.Node | None:
    """What a graph returns, if that is one tensor and nothing around it."""
    [returned] = graph.output_node().args
    return returned if isinstance(returned, fx.Node) and _is_tensor(returned) else None


def prediction_in(returned: Any, output: str | int | None) -> Any:
    """The prediction in what a module returned, or in what stands for that in a graph; ``None`` if it is not clear.

    Args:
        returned: A tensor, or a tuple, list, mapping or dataclass of parts.
        output: The part's name or position; names are joined by dots where parts have parts (``decoder.logits``).
    """
    if _is_tensor(returned):
        return returned if output in (None, 0) else None
    parts = _parts_of(returned)
    tensors = {key: part for key, part in parts.items() if _is_tensor(part)}
    if output is None:
        named = [name for name in _DEFAULT_OUTPUTS if name in tensors]
        return next(iter(tensors.values())) if len(tensors) == 1 else tensors[named[0]] if named else None
    if output in tensors:
        return tensors[output]
    if isinstance(output, int):
        part = list(parts.values())[output] if 0 <= output < len(parts) else None
        return part if _is_tensor(part) else None
    first, _, rest = output.partition(".")
    inner = parts.get(_key(first))
    return prediction_in(inner, _key(rest)) if rest and inner is not None else None


def _key(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, fx.Node) and type_of(value) is not None)


def _parts_of(returned: Any) -> Mapping[Any, Any]:
    """The named, or numbered, parts of what a module returns; in a graph a class of outputs is a call with the parts as arguments."""
    if isinstance(returned, fx.Node):
        return dict(returned.kwargs) or _parts_of(returned.args[0] if isinstance(returned.target, type) and returned.args else None)
    if is_mapping(returned):
        return returned
    if (named := fields_of(returned)) is not None:
        return {name: part for name, part in named.items() if part is not None}
    if is_namedtuple(returned):
        return returned._asdict()
    return dict(enumerate(returned)) if is_tuple(returned) or is_list(returned) else {}


def _names(returned: Any) -> list[str | int]:
    """What the tensors in it can be called by."""
    if _is_tensor(returned):
        return [0]
    found: list[str | int] = []
    for key, part in _parts_of(returned).items():
        found += [key] if _is_tensor(part) else [f"{key}.{name}" for name in _names(part)]
    return found
