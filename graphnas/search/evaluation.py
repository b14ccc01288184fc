"""Metrics of networks on a split: of every task, and of the primary once every link into it is cut."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphnas.compiler import Supernet
from graphnas.data import Batch, Data
from graphnas.data.dataset import Split
from graphnas.search.precision import Precision
from graphnas.search.prediction import predict
from graphnas.search.step import task_losses
from graphnas.tasks.base import TaskType


@dataclass(frozen=True)
class Scores:
    """What one task reached on a split.

    Args:
        metrics: Name -> value.
        loss: Mean over the samples; ``None`` if nobody asked for it.
        samples: How many have it.
    """

    metrics: Mapping[str, float]
    loss: float | None
    samples: int


def score(
    networks: Mapping[str, nn.Module],
    tasks: Mapping[str, TaskType],
    data: Data,
    split: Split,
    *,
    batch_size: int,
    precision: Precision,
    workers: int = 0,
    losses: Collection[str] | None = None,
) -> dict[str, dict[str, Scores]]:
    """Evaluate networks side by side in one pass over a split.

    Where a task's metrics choose something (a threshold), those of the test are of what is chosen on validation, in a pass over that.

    Args:
        networks: Name -> ``network(**inputs) -> {task: prediction}``; left in eval mode.
        tasks: The tasks to score; a network is scored on those that it predicts.
        data: Where the split is.
        split: training, validation or test.
        batch_size: Samples in a batch.
        precision: Device and number format.
        workers: Processes that load them.
        losses: The networks whose losses are wanted beside their metrics; all, if left out.
    Returns:
        Network -> task -> scores.
    """
    pass_over = _Pass(networks, data, batch_size, precision, workers, frozenset(networks if losses is None else losses))
    found: dict[str, dict[str, _Tally]] = {}
    if split == "test":
        choosing = {task: kind for task, kind in tasks.items() if kind.chooses and data.sizes()["validation"].get(task)}
        found = pass_over.tallies("validation", choosing, {}) if choosing else {}
    tallies = pass_over.tallies(split, tasks, found)
    return {name: {task: tally.scores() for task, tally in each.items()} for name, each in tallies.items()}


@dataclass(frozen=True)
class _Pass:
    """How a split is gone over."""

    networks: Mapping[str, nn.Module]
    data: Data
    batch_size: int
    precision: Precision
    workers: int
    losses: frozenset[str]

    def tallies(
        self, split: Split, tasks: Mapping[str, TaskType], before: Mapping[str, Mapping[str, _Tally]]
    ) -> dict[str, dict[str, _Tally]]:
        """Network -> task -> sums, measured with what was found ``before``."""
        precision = self.precision
        for network in self.networks.values():
            network.eval()
        tallies: dict[str, dict[str, _Tally]] = {name: {} for name in self.networks}
        parts = _Labeled()
        with torch.no_grad():  # not inference_mode: a module may cache what it makes here and train with it later
            for batch in self.data.evaluation(split, self.batch_size, self.workers):
                inputs = precision.move(batch.inputs)
                labeled = {task: kind for task, kind in tasks.items() if len(batch.rows.get(task, ())) > 0}
                for name, network in self.networks.items():
                    with precision.autocast():
                        predictions = predict(parts.of(network, labeled), inputs)
                    known = {task: kind for task, kind in labeled.items() if task in predictions}
                    losses = task_losses(predictions, batch, known, precision.device) if name in self.losses else {}
                    for task in known:
                        if task not in tallies[name]:
                            tallies[name][task] = _Tally(tasks[task], before.get(name, {}).get(task))
                        tallies[name][task].add(*self._of_labeled(predictions[task], batch, task), losses.get(task))
        return tallies

    def _of_labeled(self, prediction: Tensor, batch: Batch, task: str) -> tuple[Tensor, Tensor]:
        """The predictions of the samples that have a task's label, and their targets, on the device."""
        rows, device = batch.rows[task], self.precision.device
        if len(rows) != len(prediction):
            prediction = prediction[rows.to(device)]
        return prediction.float(), batch.targets[task].to(device)


class _Labeled:
    """The parts of supernets that predict the tasks that have labels in a batch: no other branch runs."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, frozenset[str]], nn.Module] = {}

    def of(self, network: nn.Module, tasks: Collection[str]) -> nn.Module:
        """A view of these tasks; any other network than a supernet is run as it is."""
        if not isinstance(network, Supernet) or frozenset(tasks).issuperset(network.tasks):
            return network
        wanted = [task for task in network.tasks if task in tasks]
        key = (id(network), frozenset(wanted))
        if key not in self._made:
            self._made[key] = network.view(wanted).eval()
        return self._made[key]


class _Tally:
    """Sums over the batches of a split, for one network and task, measured with what was found on another."""

    def __init__(self, task: TaskType, before: _Tally | None = None) -> None:
        self._metrics = task.new_metrics()
        if before is not None:
            self._metrics.use(before.found())
        self._loss: float | None = None
        self._samples = 0

    def add(self, prediction: Tensor, target: Tensor, loss: Tensor | None) -> None:
        self._metrics.update(prediction, target)
        if loss is not None:
            self._loss = (self._loss or 0.0) + float(loss) * len(target)
        self._samples += len(target)

    def found(self) -> Mapping[str, float]:
        """What the metrics chose."""
        return self._metrics.found()

    def scores(self) -> Scores:
        return Scores(self._metrics.compute(), None if self._loss is None else self._loss / self._samples, self._samples)


def better(value: float, than: float | None, direction: str) -> bool:
    """Whether a metric's value is finite and an improvement; ``direction`` is min or max."""
    if not math.isfinite(value):
        return False
    return than is None or (value < than if direction == "min" else value > than)
