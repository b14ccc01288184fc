"""Scores of networks side by side: whose losses are asked for, and on which samples."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from graphnas.data import Batch, Data
from graphnas.search.evaluation import Scores, score
from graphnas.search.precision import Precision
from graphnas.tasks.base import TaskType
from tests.search.conftest import MeanSquare, make_batch

BATCHES = [make_batch([1.0, 2.0, 3.0, 6.0], {"p": {0: 2.0, 1: 2.0, 2: 2.0, 3: 2.0}, "a": {1: 0.0}}), make_batch([4.0], {"p": {0: 0.0}})]


class Times(nn.Module):
    """Both tasks' predictions are a multiple of the input."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"p": self.factor * x, "a": self.factor * x}


class Given:
    """Data of batches that are given."""

    def evaluation(self, split: str, batch_size: int, workers: int) -> list[Batch]:
        return BATCHES


def scored(**options: Any) -> dict[str, dict[str, Scores]]:
    tasks = {name: cast("TaskType", MeanSquare()) for name in ("p", "a")}
    precision, networks = Precision(torch.device("cpu")), {"one": Times(1.0), "two": Times(2.0)}
    return score(networks, tasks, cast("Data", Given()), "validation", batch_size=4, precision=precision, **options)


def test_metrics_and_losses_are_of_the_samples_with_labels() -> None:
    found = scored()
    assert found["one"] == {"p": Scores({"square": 6.8}, 6.8, 5), "a": Scores({"square": 4.0}, 4.0, 1)}
    assert found["two"] == {"p": Scores({"square": 36.8}, 36.8, 5), "a": Scores({"square": 16.0}, 16.0, 1)}


def test_losses_are_computed_where_they_are_asked_for() -> None:
    every, some = scored(), scored(losses=("one",))
    assert some["one"] == every["one"]
    assert [scores.loss for scores in some["two"].values()] == [None, None]
    assert {task: scores.metrics for task, scores in some["two"].items()} == {task: scores.metrics for task, scores in every["two"].items()}
