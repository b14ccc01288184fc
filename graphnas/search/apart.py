"""The gradient of a weighted sum of losses, one head after the other.

The trunk runs once. Its values are detached; each head runs on them, gives its loss, and is gone back through, before the next one runs::

    v = trunk(x)
    for each task t:  add up  d(w_t L_t(head_t(v))) / dv,  and free the values of head_t
    once back through the trunk

That is the same gradient, by the chain rule, up to the order in which terms are added; and the memory of the largest head, not of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from graphnas.compiler.heads import Heads
from graphnas.search.precision import Precision


def backward_apart(
    heads: Heads,
    inputs: Mapping[str, Tensor],
    loss_of: Callable[[str, Tensor], tuple[Tensor, Tensor]],
    penalty: Tensor | None,
    precision: Precision,
    check: Callable[[Mapping[str, Tensor]], None],
) -> bool:
    """Put gradients on the parameters.

    Args:
        heads: The network, in train mode.
        inputs: Of the trunk.
        loss_of: Task, prediction -> its loss, and the same times its weight.
        penalty: Of the search space; ``None`` where there is none.
        precision: Device and number format.
        check: Called with the losses before the way back through the trunk; may raise.
    Returns:
        Whether there was anything to descend.
    """
    with precision.autocast():
        values: dict[str, Any] = heads.trunk(**inputs)
    crossing = {name: _leaf(value) for name, value in values.items()}
    losses: dict[str, Tensor] = {}
    descended = False
    for task, head in heads.heads.items():
        with precision.autocast():
            prediction = head(**{name: crossing[name] for name in heads.reads[task]})[task]
        loss, weighted = loss_of(task, prediction)
        losses[task] = loss.detach()
        if weighted.requires_grad:
            _scaled(weighted, precision).backward()  # pyright: ignore[reportUnknownMemberType]
            descended = True
        del prediction, loss, weighted
    check(losses)
    roots = [(value, crossing[name].grad) for name, value in values.items() if isinstance(value, Tensor) and value.requires_grad]
    ends = [(value, gradient) for value, gradient in roots if gradient is not None]
    if penalty is not None and penalty.requires_grad:
        ends.append((_scaled(penalty, precision), None))
    if ends:
        torch.autograd.backward([value for value, _ in ends], [gradient for _, gradient in ends])
    return descended or bool(ends)


def _leaf(value: Any) -> Any:
    """A tensor from which no way leads back, and that collects its gradient; what needs none is as it was."""
    return value.detach().requires_grad_() if isinstance(value, Tensor) and value.requires_grad else value


def _scaled(value: Tensor, precision: Precision) -> Tensor:
    return value if precision.scaler is None else precision.scaler.scale(value)
