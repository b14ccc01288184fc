"""Metrics of networks on a split: of every task, and of the primary once every link into it is cut."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from graphnas.data import Data
from graphnas.data.dataset import Split
from graphnas.search.precision import Precision
from graphnas.search.step import predict, task_losses
from graphnas.tasks.base import TaskType


@dataclass(frozen=True)
class Scores:
    """What one task reached on a split.

    Args:
        metrics: Name -> value.
        loss: Mean over the samples; ``None`` if no sample has the task's label.
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
) -> dict[str, dict[str, Scores]]:
    """Evaluate networks side by side in one pass over a split.

    Args:
        networks: Name -> ``network(**inputs) -> {task: prediction}``; left in eval mode.
        tasks: The tasks to score; a network is scored on those that it predicts.
        data: Where the split is.
        split: training, validation or test.
        batch_size: Samples in a batch.
        precision: Device and number format.
        workers: Processes that load them.
    Returns:
        Network -> task -> scores.
    """
    for network in networks.values():
        network.eval()
    tallies: dict[str, dict[str, _Tally]] = {name: {} for name in networks}
    with torch.no_grad():  # not inference_mode: a module may cache what it makes here and train with it later
        for batch in data.evaluation(split, batch_size, workers):
            inputs = precision.move(batch.inputs)
            for name, network in networks.items():
                with precision.autocast():
                    predictions = predict(network, inputs)
                known = {task: kind for task, kind in tasks.items() if task in predictions}
                losses = task_losses(predictions, batch, known, precision.device)
                for task, loss in losses.items():
                    rows = batch.rows[task].to(precision.device)
                    tally = tallies[name].setdefault(task, _Tally(tasks[task]))
                    tally.add(predictions[task].float()[rows], batch.targets[task].to(precision.device), float(loss))
    return {name: {task: tally.scores() for task, tally in found.items()} for name, found in tallies.items()}


class _Tally:
    """Sums over the batches of a split, for one network and task."""

    def __init__(self, task: TaskType) -> None:
        self._metrics = task.new_metrics()
        self._loss = 0.0
        self._samples = 0

    def add(self, prediction: torch.Tensor, target: torch.Tensor, loss: float) -> None:
        self._metrics.update(prediction, target)
        self._loss += loss * len(target)
        self._samples += len(target)

    def scores(self) -> Scores:
        return Scores(self._metrics.compute(), self._loss / self._samples, self._samples)


def better(value: float, than: float | None, direction: str) -> bool:
    """Whether a metric's value is finite and an improvement; ``direction`` is min or max."""
    if not math.isfinite(value):
        return False
    return than is None or (value < than if direction == "min" else value > than)
