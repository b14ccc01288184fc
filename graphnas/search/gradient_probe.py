"""Do an auxiliary and the primary pull the same way? Cosines of the gradients of their losses, measured beside a step.

For a shared tap of the primary, one that a link reads, with value x of the samples that carry both labels, and for all of the primary's
weights that both losses reach::

    cosine = <dL_aux/dx, dL_primary/dx> / (|dL_aux/dx| |dL_primary/dx|)        ratio = |dL_aux/dx| / |dL_primary/dx|

of the losses as they are, without the balance's weights (as Du et al., arXiv:1812.02224, compare tasks). Negative: they are in conflict.
Of the weights there is a cosine also where no sample carries both labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from graphnas.compiler import Supernet
from graphnas.compiler.meta import origin_of
from graphnas.compiler.views import outputs_of, view_of
from graphnas.data import Batch
from graphnas.search import random_state
from graphnas.search.precision import Precision
from graphnas.search.prediction import predict
from graphnas.search.step import batch_norm_frozen, task_losses
from graphnas.tasks.base import TaskType


@dataclass(frozen=True)
class Agreement:
    """An auxiliary's gradient against the primary's.

    Args:
        task: The auxiliary.
        tap: Of the primary, before fusion; ``None`` for the primary's weights.
        cosine: Between -1 and 1; ``None`` where one of them is zero.
        ratio: Length of the auxiliary's over that of the primary's.
        samples: Those that carry both labels; for the weights, those that carry the auxiliary's.
    """

    task: str
    tap: str | None
    cosine: float | None
    ratio: float | None
    samples: int


@dataclass(frozen=True)
class GradientProbe:
    """Measures on a batch: one forward pass, and one backward pass a task.

    Args:
        net: What is trained.
        tasks: Its tasks.
        precision: Device and number format.
    """

    net: Supernet
    tasks: Mapping[str, TaskType]
    precision: Precision

    def __call__(self, batch: Batch) -> list[Agreement]:
        """Cosines at the weights as they are; running statistics, gradients and random numbers stay as they were."""
        net, device = self.net, self.precision.device
        taps = shared_taps(net)
        names = {f"{index}: {tap}": node for index, (tap, node) in enumerate(taps.items())}
        view = view_of(net, {**outputs_of(net.graph), **names}).train(net.training)
        weights = [w for name, w in net.named_weight_parameters() if name.startswith(f"branches.{net.primary}.") and w.requires_grad]
        with random_state.given_back(device), batch_norm_frozen(view, enabled=True):
            with self.precision.autocast():
                found = predict(view, self.precision.move(batch.inputs))
            values = [found.pop(name) for name in names]
            losses = task_losses(found, batch, self.tasks, device)
            gradients = {task: _gradients(loss, [*values, *weights]) for task, loss in losses.items()}
        if net.primary not in gradients:
            return []
        primary, count = gradients.pop(net.primary), len(values)
        rows: list[Agreement] = []
        for task, own in gradients.items():
            both = batch.rows[task][torch.isin(batch.rows[task], batch.rows[net.primary])].to(device)
            for tap, ours, theirs in zip(taps, own[:count], primary[:count], strict=True):
                if len(both) and ours is not None and theirs is not None:
                    rows.append(_agreement(task, tap, [(ours[both], theirs[both])], len(both)))
            pairs = [(ours, theirs) for ours, theirs in zip(own[count:], primary[count:], strict=True)]
            reached = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
            if reached:
                rows.append(_agreement(task, None, reached, len(batch.rows[task])))
        return rows


def shared_taps(net: Supernet) -> dict[str, fx.Node]:
    """Taps of the primary that links read, in order of execution: their values before fusion.

    Those that their own branch changes in place are left out: what the links read of them is a copy.
    """
    read = {link.source.tap for link in net.links if link.source.task == net.primary} - set(net.recorded[net.primary].changed)
    found: dict[str, fx.Node] = {}
    for node in net.graph.nodes:
        origin = origin_of(node)
        if origin is not None and origin.kind == "branch" and origin.task == net.primary and origin.tap in read:
            assert origin.tap is not None
            found[origin.tap] = node
    return found


def _gradients(loss: Tensor, of: Sequence[Tensor]) -> list[Tensor | None]:
    wanted = [value for value in of if value.requires_grad]
    if not loss.requires_grad or not wanted:
        return [None] * len(of)
    found = iter(torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True))
    return [next(found) if value.requires_grad else None for value in of]


def _agreement(task: str, tap: str | None, pairs: Sequence[tuple[Tensor, Tensor]], samples: int) -> Agreement:
    one, other = (torch.cat([pair[index].detach().double().flatten() for pair in pairs]) for index in (0, 1))
    length, reference, product = (float(value) for value in torch.stack([(one @ one).sqrt(), (other @ other).sqrt(), one @ other]).cpu())
    if not 0 < length * reference < float("inf"):
        return Agreement(task, tap, None, length / reference if reference else None, samples)
    return Agreement(task, tap, product / (length * reference), length / reference, samples)
