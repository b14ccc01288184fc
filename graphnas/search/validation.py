"""Evaluation while training: every task on the network, the primary on the network as it will be shipped, and what is the best so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from graphnas.data import Data
from graphnas.search.cutting import LiveCutting
from graphnas.search.evaluation import Scores, better, score
from graphnas.search.precision import Precision
from graphnas.tasks.base import TaskType


@dataclass(frozen=True)
class Report:
    """One evaluation.

    Args:
        primary: The primary task.
        scores: Task -> scores of the network that is trained.
        cut: Scores of the primary as it will be shipped; ``None`` where that is the same.
        value: The metric that is judged by, of what will be shipped.
        gap: The same of the network that is trained, minus ``value``.
    """

    primary: str
    scores: Mapping[str, Scores]
    cut: Scores | None
    value: float
    gap: float | None


@dataclass(frozen=True)
class Validation:
    """Evaluates on the validation split.

    Args:
        network: What is trained.
        shipped: The primary with every link into it cut, sharing parameters; ``None`` where no link leads into it.
        tasks: Tasks of the network.
        primary: Which of them is shipped.
        data: Where the split is.
        batch_size: Samples in a batch.
        workers: Processes that load them.
        precision: Device and number format.
        metric: The primary's metric that is judged by.
        direction: Whether less or more of it is better.
        after: Share of training before which nothing is selected; ``None`` if the last state is taken in any case.
        cutting: Knows when all links into the primary are cut: then what is trained is evaluated, and what is shipped with it.
    """

    network: nn.Module
    shipped: nn.Module | None
    tasks: Mapping[str, TaskType]
    primary: str
    data: Data
    batch_size: int
    workers: int
    precision: Precision
    metric: str
    direction: Literal["min", "max"]
    after: float | None
    cutting: LiveCutting | None = None

    def evaluate(self, *, alone: bool = False) -> Report:
        """Scores of now, of the primary alone where only that is still trained; networks are left in eval mode."""
        alike = alone or (self.cutting is not None and self.cutting.complete)
        tasks = {self.primary: self.tasks[self.primary]} if alone else self.tasks
        networks = {"network": self.network} | ({} if self.shipped is None or alike else {"shipped": self.shipped})
        found = score(
            networks, tasks, self.data, "validation",
            batch_size=self.batch_size, precision=self.precision, workers=self.workers, losses=("network",),
        )  # fmt: skip
        own = found["network"][self.primary].metrics[self.metric]
        if self.shipped is None:
            return Report(self.primary, found["network"], None, own, None)
        cut = found["network" if alike else "shipped"][self.primary]
        return Report(self.primary, found["network"], cut, cut.metrics[self.metric], own - cut.metrics[self.metric])

    def selects(self, report: Report, progress: float, than: float | None) -> bool:
        """Whether this state takes the place of the best so far, whose value is ``than``."""
        return self.after is not None and progress >= self.after and better(report.value, than, self.direction)
