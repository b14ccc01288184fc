"""The maths of one update: joint, and alternate (first order; arXiv:2405.05695, section 3).

    joint        w, a  <-  descend  balance(losses(B)) + penalty(t)                  one forward and one backward
    alternate    a     <-  descend  sum of weights * losses(B1) + penalty(t)         w frozen: its gradients are not computed
                 w     <-  descend  balance(losses(B2)) + penalty(t)                 a frozen

In the weight half the penalty reaches the weights where it is one of the contribution g * ||W||, and gates that are trained with them.
A task without labels in a batch contributes nothing: its loss is not computed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]  # the base of them all, timm's included

from graphnas.compiler.heads import Heads
from graphnas.data import Batch
from graphnas.search import random_state
from graphnas.search.apart import backward_apart
from graphnas.search.balance import Balancer, Descent
from graphnas.search.balance.balancer import descend
from graphnas.search.parts import Parts
from graphnas.search.precision import Precision
from graphnas.search.prediction import own_inputs, predict
from graphnas.tasks.base import TaskType


class NotFinite(ArithmeticError):
    """Something is NaN or infinite; nothing was changed by its update, but running statistics.

    Args:
        what: ``the loss of 'depth'``, ``the penalty``, ``the gradient``.
        value: It.
        ids: The samples that it was computed from.
    """

    def __init__(self, what: str, value: float, ids: tuple[str, ...] = ()) -> None:
        super().__init__(what, value, ids)
        self.what = what
        self.value = value
        self.ids = ids


@dataclass(frozen=True)
class Learner:
    """What is trained, and by what.

    Args:
        network: ``network(**inputs) -> {task: prediction}``.
        tasks: The tasks whose losses count.
        balance: How they are combined, at work.
        weights: Optimizer of the weights.
        alphas: Optimizer of the alphas; ``None`` where there are none.
        penalty: Share of training -> scalar, of the alphas; ``None`` where there is none.
        before_step: Called with the share of training before every update; ``None`` where nothing changes with it.
        after_alpha_step: Called with the alphas' learning rate and the share of training after their step.
        precision: Device and number format.
        clip_gradient: Largest norm of the weights' gradient.
        freeze_batch_norm: Whether the alpha half of an alternation leaves running statistics alone.
        parts: Parts of the network, where what a batch does not need is left out.
    """

    network: nn.Module
    tasks: Mapping[str, TaskType]
    balance: Balancer
    weights: torch.optim.Optimizer
    precision: Precision
    alphas: torch.optim.Optimizer | None = None
    penalty: Callable[[float], Tensor] | None = None
    before_step: Callable[[float], None] | None = None
    after_alpha_step: Callable[[float, float], None] | None = None
    clip_gradient: float | None = None
    freeze_batch_norm: bool = False
    parts: Parts | None = None


def joint_step(learner: Learner, batch: Batch | Sequence[Batch], progress: float) -> dict[str, float]:
    """One update of weights and alphas from one forward and one backward pass.

    Args:
        learner: What is trained.
        batch: One batch, or several whose gradients are accumulated.
        progress: Share of training.
    Returns:
        Task -> its loss.
    Raises:
        NotFinite: A loss is not a finite number; nothing was updated.
    """
    optimizers = [learner.weights, *([learner.alphas] if learner.alphas is not None else [])]
    alphas = [] if learner.alphas is None else parameters(learner.alphas)
    _look(learner, batch)
    values = _step(learner, batch, progress, optimizers, alphas, held_out=batch)
    _after_alphas(learner, progress)
    return values


def weight_step(
    learner: Learner, batch: Batch | Sequence[Batch], progress: float, *, held_out: Batch | Sequence[Batch] | None = None
) -> dict[str, float]:
    """One update of the weights alone; ``held_out`` is what the balance may look at that this does not train on."""
    _look(learner, batch)
    with frozen([] if learner.alphas is None else parameters(learner.alphas)):
        return _step(learner, batch, progress, [learner.weights], [], held_out=batch if held_out is None else held_out)


def alternate_step(
    learner: Learner, alpha_batch: Batch | Sequence[Batch], weight_batch: Batch | Sequence[Batch], progress: float
) -> dict[str, float]:
    """One update of the alphas on one batch, then one of the weights on another; several batches are accumulated.

    Returns:
        Task -> its loss in the weight half.
    Raises:
        NotFinite: A loss is not a finite number; its half was not updated.
    """
    assert learner.alphas is not None, "without alphas every batch is for the weights"
    _look(learner, alpha_batch)
    with frozen(parameters(learner.weights)), batch_norm_frozen(learner.network, enabled=learner.freeze_batch_norm):
        summed = _Summed(learner, _several(alpha_batch), progress, for_alphas=True)
        _descend(learner, summed, [learner.alphas], summed.ids)
    _after_alphas(learner, progress)
    return weight_step(learner, weight_batch, progress, held_out=alpha_batch)


def _step(
    learner: Learner,
    batch: Batch | Sequence[Batch],
    progress: float,
    optimizers: list[torch.optim.Optimizer],
    alphas: list[nn.Parameter],
    *,
    held_out: Batch | Sequence[Batch],
) -> dict[str, float]:
    """Descend as the balance says; the losses."""
    batches = _several(batch)
    if learner.balance.linear:
        summed = _Summed(learner, batches, progress)
        _descend(learner, summed, optimizers, summed.ids)
        return summed.values
    assert len(batches) == 1, "refused when the spec is read"
    losses, values = _losses(learner, batches[0])
    descent = _descent(learner, losses, progress, alphas, batches[0], _several(held_out)[0])
    if _descend(learner, lambda: learner.balance.backward(descent), optimizers, batches[0].ids):
        learner.balance.after_step(descent)
    return values


def _look(learner: Learner, batch: Batch | Sequence[Batch]) -> None:
    """Show the balance the losses of tasks that it has not seen, if it must know them beforehand."""
    for one in _several(batch):
        if learner.balance.unseen([task for task in learner.tasks if len(one.rows.get(task, ())) > 0]):
            losses = _losses_again(learner, one)
            _finite(losses, one)
            learner.balance.see(losses)


def _several(batch: Batch | Sequence[Batch]) -> Sequence[Batch]:
    return [batch] if isinstance(batch, Batch) else batch


def task_losses(predictions: Mapping[str, Tensor], batch: Batch, tasks: Mapping[str, TaskType], device: torch.device) -> dict[str, Tensor]:
    """The loss of every task that has labels in this batch, in float32."""
    found: dict[str, Tensor] = {}
    for name, task in tasks.items():
        rows = batch.rows.get(name)
        if rows is None or len(rows) == 0:
            continue
        prediction = predictions[name]
        if len(rows) != len(prediction):
            prediction = prediction[rows.to(device)]
        found[name] = task.loss_value(prediction.float(), batch.targets[name].to(device, non_blocking=True))
    return found


def _losses(learner: Learner, batch: Batch, *, for_alphas: bool = False) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The losses of a batch, and the same as numbers.

    Args:
        learner: What is trained.
        batch: The batch.
        for_alphas: In the alpha half of an alternation: a loss that no alpha reaches may be left out.
    Raises:
        NotFinite: One is not.
    """
    tasks = _counting(learner, batch, for_alphas)
    inputs, network = learner.precision.move(batch.inputs), learner.network
    with learner.precision.autocast():
        if learner.parts is not None:
            network = learner.parts.network(tasks, inputs, statistics=not (for_alphas and learner.freeze_batch_norm))
        predictions = predict(network, inputs)
    losses = task_losses(predictions, batch, tasks, learner.precision.device)
    return losses, _finite(losses, batch)


def _counting(learner: Learner, batch: Batch, for_alphas: bool) -> dict[str, TaskType]:
    """The tasks whose losses count: those with labels in the batch, of which some alpha reaches where it is about alphas alone."""
    tasks = {name: task for name, task in learner.tasks.items() if len(batch.rows.get(name, ())) > 0}
    if not for_alphas or learner.parts is None:
        return tasks
    return {name: task for name, task in tasks.items() if name in learner.parts.reached_by_alphas()}


def _finite(losses: Mapping[str, Tensor], batch: Batch) -> dict[str, float]:
    """The losses as numbers.

    Raises:
        NotFinite: One is not.
    """
    numbers = _numbers([loss.detach() for loss in losses.values()])  # one synchronization
    values = dict(zip(losses, numbers, strict=True))
    for task, value in values.items():
        if not -float("inf") < value < float("inf"):
            raise NotFinite(f"the loss of {task!r}", value, tuple(batch.ids[int(row)] for row in batch.rows[task]))
    return values


class _Summed:
    """Goes back through the weighted sum of the losses of some batches; ``values`` are the losses, once it was called.

    The loss of a task is the mean over all samples with its label: that of each batch counts by how many of them it has. The penalty counts
    once.
    """

    def __init__(self, learner: Learner, batches: Sequence[Batch], progress: float, *, for_alphas: bool = False) -> None:
        self._learner, self._batches, self._progress, self._for_alphas = learner, batches, progress, for_alphas
        self._totals = {task: sum(len(batch.rows.get(task, ())) for batch in batches) for task in learner.tasks}
        self.ids = tuple(name for batch in batches for name in batch.ids)
        self.values: dict[str, float] = {}

    def __call__(self) -> bool:
        penalty, found = _penalty(self._learner, self._progress), False
        for index, batch in enumerate(self._batches):
            found |= self._one(batch, penalty if index == 0 else None)
        return found

    def _one(self, batch: Batch, penalty: Tensor | None) -> bool:
        learner, apart = self._learner, _heads(self._learner, batch, self._for_alphas)
        if apart is not None:
            heads, inputs = apart
            loss_of, check = partial(self._weighted, batch), partial(self._note, batch)
            return backward_apart(heads, own_inputs(heads.trunk, inputs), loss_of, penalty, learner.precision, check)
        losses, values = _losses(learner, batch, for_alphas=self._for_alphas)
        self._add(batch, values)
        total = learner.balance.weighted_sum(self._shared(batch, losses), self._progress) if losses else None
        return descend(total, penalty, learner.precision.scaler)

    def _weighted(self, batch: Batch, task: str, prediction: Tensor) -> tuple[Tensor, Tensor]:
        learner = self._learner
        losses = task_losses({task: prediction}, batch, {task: learner.tasks[task]}, learner.precision.device)
        return losses[task], learner.balance.weighted_sum(self._shared(batch, losses), self._progress)

    def _note(self, batch: Batch, losses: Mapping[str, Tensor]) -> None:
        self._add(batch, _finite(losses, batch))

    def _add(self, batch: Batch, values: Mapping[str, float]) -> None:
        for task, value in values.items():
            self.values[task] = self.values.get(task, 0.0) + self._share(batch, task) * value

    def _shared(self, batch: Batch, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        shares = {task: self._share(batch, task) for task in losses}
        return {task: loss if shares[task] == 1 else shares[task] * loss for task, loss in losses.items()}

    def _share(self, batch: Batch, task: str) -> float:
        return len(batch.rows[task]) / self._totals[task]


def _heads(learner: Learner, batch: Batch, for_alphas: bool) -> tuple[Heads, dict[str, Tensor]] | None:
    """The network as a trunk and heads, where it can be cut so, and the inputs of the batch."""
    if learner.parts is None:
        return None
    tasks, inputs = _counting(learner, batch, for_alphas), learner.precision.move(batch.inputs)
    with learner.precision.autocast():
        heads = learner.parts.heads(tasks, inputs, statistics=not (for_alphas and learner.freeze_batch_norm))
    return None if heads is None else (heads, inputs)


def _numbers(scalars: list[Tensor]) -> list[float]:
    return [float(value) for value in torch.stack(scalars).cpu().numpy()] if scalars else []


def _penalty(learner: Learner, progress: float) -> Tensor | None:
    """The penalty, if there is one.

    Raises:
        NotFinite: It is not.
    """
    if learner.penalty is None:
        return None
    penalty = learner.penalty(progress)
    if not bool(torch.isfinite(penalty)):
        raise NotFinite("the penalty", float(penalty.detach()))
    return penalty


def _descent(
    learner: Learner, losses: Mapping[str, Tensor], progress: float, alphas: list[nn.Parameter], batch: Batch, held_out: Batch
) -> Descent:
    """What the balance is told of this step."""
    rate = float(learner.weights.param_groups[-1]["lr"])
    return Descent(
        losses, progress, _penalty(learner, progress), parameters(learner.weights), alphas, rate, learner.precision.scaler,
        again=lambda: _losses_again(learner, batch), held_out=lambda: _losses_again(learner, held_out),
    )  # fmt: skip


def _losses_again(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """The losses of a batch at the weights as they are; running statistics and random numbers stay as they were."""
    held = batch_norm_frozen(learner.network, enabled=True)
    with random_state.given_back(learner.precision.device), held, learner.precision.autocast():
        predictions = predict(learner.network, learner.precision.move(batch.inputs))
    return task_losses(predictions, batch, learner.tasks, learner.precision.device)


def _descend(learner: Learner, backward: Callable[[], bool], optimizers: Iterable[torch.optim.Optimizer], ids: tuple[str, ...]) -> bool:
    """Gradients, clipped, and a step of every optimizer that got one.

    Args:
        learner: What is trained.
        backward: Puts gradients on the parameters; says whether there are any.
        optimizers: Of these parameters.
        ids: The samples, for the message.
    Returns:
        Whether anything was stepped.
    Raises:
        NotFinite: A gradient is not; with float16 that is ordinary, and its scaler leaves the step out.
    """
    optimizers = list(optimizers)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    if not backward():
        return False
    scaler = learner.precision.scaler
    reached = [optimizer for optimizer in optimizers if any(parameter.grad is not None for parameter in parameters(optimizer))]
    if scaler is None:
        gradients = [parameter.grad for optimizer in reached for parameter in parameters(optimizer) if parameter.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients))
        if not norm < float("inf"):
            raise NotFinite("the gradient", norm, ids)
    for optimizer in reached:
        if optimizer is learner.weights and learner.clip_gradient is not None:
            if scaler is not None:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters(optimizer), learner.clip_gradient)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
    if scaler is not None and reached:
        scaler.update()
    for optimizer in reached:
        optimizer.zero_grad(set_to_none=True)  # the next half of an alternation does not carry the gradients of this one
    return bool(reached)


def _after_alphas(learner: Learner, progress: float) -> None:
    if learner.after_alpha_step is not None:
        rate = learner.alphas.param_groups[0]["lr"] if learner.alphas is not None else 0.0
        learner.after_alpha_step(float(rate), progress)


def parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """All parameters of an optimizer."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Generator[None, None, None]:
    """These parameters get no gradients meanwhile: autograd computes none for them and keeps nothing to do so."""
    held = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)


@contextmanager
def batch_norm_frozen(network: nn.Module, *, enabled: bool) -> Generator[None, None, None]:
    """Batch norms meanwhile normalize by their batch and leave their running statistics and counters alone."""
    held = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats] if enabled else []
    for module in held:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in held:
            module.track_running_stats = True
