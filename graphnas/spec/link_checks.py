"""Rules of links that contradict themselves: what could never come true is refused before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic_core import InitErrorDetails

from graphnas.gates.base import GateFunction, Penalty
from graphnas.registry import gates
from graphnas.schema import Spec, error_at
from graphnas.spec.place import Path_

if TYPE_CHECKING:
    from graphnas.spec.search_space import LinkRule


def contradictions(rule: LinkRule) -> Iterator[InitErrorDetails]:
    """What is wrong with a rule by itself."""
    yield from not_plain(rule) if rule.combine == "replace" else _gates(rule)
    if rule.combine == "mix":
        yield from not_shared(rule)


def sigmoid() -> GateFunction:
    """The gate of a rule that names none."""
    return gates.get("sigmoid")()


def not_plain(rule: LinkRule, path: Path_ = ()) -> Iterator[InitErrorDetails]:
    """What a rule has that ``replace`` has no use for: it has one operation and no alpha."""
    if len(rule.operations) > 1:
        yield error_at((*path, "operations"), f"replace takes one operation, got {len(rule.operations)}", "keep one")
    if rule.gate != sigmoid():
        yield error_at((*path, "gate"), "replace has no gates", "leave gate out")
    if rule.penalty is not None:
        yield error_at((*path, "penalty"), "replace has no gates to penalize", "leave penalty out")
    if rule.converges_to != "free":
        yield error_at((*path, "converges_to"), f"replace has no gates that could converge to {rule.converges_to}", "converges_to: free")


def not_shared(rule: LinkRule, path: Path_ = ()) -> Iterator[InitErrorDetails]:
    """What a rule wants of ``mix`` that a sum of 1, shared with the destination's own value, can't be."""
    if rule.converges_to == "binary":
        message = "the gates of mix share 1 with the destination's own value, so they don't converge to 0 or 1 each"
        yield error_at((*path, "converges_to"), message, "converges_to: free, or combine: add")


def _gates(rule: LinkRule) -> Iterator[InitErrorDetails]:
    gate, penalty = name_of(rule.gate, "function"), rule.penalty
    kind = None if penalty is None else name_of(penalty, "type")
    if kind == "proximal" and gate != "projected01":
        yield error_at(("penalty",), f"a proximal penalty needs gates that can be exactly 0, {gate} can't", "gate: {function: projected01}")
    if gate == "projected01" and rule.gate.train_with == "weights":
        message = "projected01 is put back into [0, 1] after the steps of the alphas, and these gates are trained with the weights"
        yield error_at(("gate", "train_with"), message, "train_with: alphas, or function: clamp01")
    elif kind == "entropy" and gate == "clamp11":
        yield error_at(("penalty",), "entropy is that of a probability, and gates of clamp11 may be negative", "gate: {function: clamp01}")
    if isinstance(penalty, Penalty) and penalty.of == "gate" and not rule.gate.trainable:
        yield error_at(("penalty",), f"no penalty can move gates that are {gate}", "leave penalty out, or of: contribution")
    if (message := _never(rule, gate)) is not None:
        yield error_at(("converges_to",), *message)


def _never(rule: LinkRule, gate: str) -> tuple[str, str] | None:
    """Why the gates can't become what they are to converge to, and what to do."""
    shrinks = isinstance(rule.penalty, Penalty) and rule.penalty.of == "contribution"  # the weights themselves
    if rule.converges_to == "zero" and not shrinks:
        if not rule.gate.trainable and rule.gate.initial != 0:
            return f"gates that are fixed at {rule.gate.initial:g} never are zero", "converges_to: free, or a gate that is searched"
        if gate in ("softmax", "gumbel") and "none" not in (name_of(operation, "op") for operation in rule.operations):
            return f"gates of {gate} add up to 1, so a link without the candidate none never is gone", "operations: [..., none]"
    if rule.converges_to == "binary":
        if not rule.gate.trainable and rule.gate.initial not in (0, 1):
            return f"gates that are fixed at {rule.gate.initial:g} never are 0 or 1", "converges_to: free, or a gate that is searched"
        if gate == "clamp11":
            return "gates of clamp11 may end at -1", "gate: {function: clamp01}"
    return None


def name_of(value: Spec, field: str) -> str:
    """The registered name of an operation, a gate or a penalty."""
    return str(getattr(value, field))
