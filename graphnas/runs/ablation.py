"""What each primary-to-auxiliary link is worth to who reads it: validation with one link closed at a time, at the trained weights.

A closed link's gate is zero (under ``mix`` the others share its weight). Nothing is trained again, so this tells what the trained network
uses, not what it would have learned without the link. The primary itself changes only as far as it still reads the auxiliaries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from graphnas.compiler import Branch, Supernet
from graphnas.errors import DataError, Where
from graphnas.graph.links import Link
from graphnas.runs.search import restore_run
from graphnas.search.evaluation import Scores, score
from graphnas.search.step import predict
from graphnas.tasks.base import TaskType


class NoValidation(DataError):
    """The data has nothing to measure on that training did not see, but the test split."""


@dataclass(frozen=True)
class LinkEffect:
    """One link closed.

    Args:
        link: Its id.
        task: The auxiliary that reads it.
        metric: The one that this task is judged by.
        direction: Whether less or more of it is better.
        value: With all links.
        without: With this link closed.
        primary_change: Of the primary's metric in the supernet, by closing it.
    """

    link: str
    task: str
    metric: str
    direction: str
    value: float
    without: float
    primary_change: float

    @property
    def worth(self) -> float:
        """By how much the link makes the metric better; negative where it makes it worse."""
        return (self.without - self.value) if self.direction == "min" else (self.value - self.without)


class Without(nn.Module):
    """A supernet with a link closed while it runs.

    Args:
        net: The supernet, shared.
        link: The link.
    """

    def __init__(self, net: Supernet, link: Link) -> None:
        super().__init__()
        self.net = net
        self._link = link

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Predict all tasks."""
        fusion = self.net.fusions[self._link.destination.task, self._link.destination.tap]
        before = fusion.closed
        fusion.closed = before | {self._link.id}
        try:
            return predict(self.net, inputs)
        finally:
            fusion.closed = before


def ablate_links(
    run: str | Path, *, networks: Mapping[str, Branch] | None = None, data: Mapping[str, Any] | None = None
) -> list[LinkEffect]:
    """Close the primary-to-auxiliary links of a finished run one at a time, on validation; links that replace can't be closed.

    Args:
        run: The run folder.
        networks: As for ``search``.
        data: As for ``search``.
    Raises:
        ArtifactError: There is no such run, or its search is not over.
        NoValidation: It has no validation split.
    """
    trained = restore_run(run, networks=networks, data=data)
    net, tasks = trained.net, trained.tasks
    primary = net.primary
    if not trained.data.sizes()["validation"].get(primary):
        raise NoValidation(
            "there is no validation split to measure links on", where=Where(str(run)), fix="sources: {NAME: {validation: {fraction: 0.2}}}"
        )
    gates = net.gates()
    links = [link for link in net.links if link.direction == "p2a" and link.id in gates and link.id not in net.cut]
    if not links:
        return []
    spec = trained.spec
    found = score(
        {"": net, **{link.id: Without(net, link) for link in links}}, tasks, trained.data, "validation",
        batch_size=spec.training.evaluation_batch_size, workers=spec.runtime.workers, precision=trained.precision, losses=(),
    )  # fmt: skip
    effects = [_effect(link, found[""], found[link.id], tasks, (primary, trained.judge.metric)) for link in links]
    return [effect for effect in effects if effect is not None]


def _effect(
    link: Link, before: Mapping[str, Scores], after: Mapping[str, Scores], tasks: Mapping[str, TaskType], judged: tuple[str, str]
) -> LinkEffect | None:
    """What closing a link changed; ``None`` where its reader has no labels to measure by."""
    task = link.destination.task
    metric, direction = next(iter(tasks[task].metric_directions.items()))
    if task not in before:
        return None
    value, without = before[task].metrics[metric], after[task].metrics[metric]
    change = after[judged[0]].metrics[judged[1]] - before[judged[0]].metrics[judged[1]]
    finite = math.isfinite(value) and math.isfinite(without) and math.isfinite(change)
    return LinkEffect(link.id, task, metric, direction, value, without, change) if finite else None
