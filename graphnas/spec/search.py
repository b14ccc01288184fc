"""``search``: ties task pair, networks and space to optimizers, schedule, seed and where to start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from graphnas.errors import suggest
from graphnas.registry import balances
from graphnas.schema import FilePath, Named, NonNegativeInt, PositiveInt, PositiveNumber, Share, Spec, Text, problem_at
from graphnas.spec.document import Document
from graphnas.spec.network import NetworkSpec
from graphnas.spec.optimizer import Optimizer, Schedule
from graphnas.spec.search_space import SearchSpaceSpec
from graphnas.spec.task_pair import TaskPairSpec

__all__ = [
    "AlphaStep",
    "Every",
    "Finetune",
    "NetworkUse",
    "Optimizer",
    "Optimizers",
    "Runtime",
    "Schedule",
    "SearchSpec",
    "Select",
    "Training",
]


class NetworkUse(Spec):
    """A task's network."""

    telling: ClassVar[str] = "use"
    use: NetworkSpec
    """A network spec: a file, a shipped one's name, or the spec itself."""
    parameters: dict[Text, Any] = {}
    """Values of its parameters; ``out_channels`` comes from the task."""
    start_from: FilePath | None = None
    """Weights to start from: a safetensors file, or an artifact's folder."""
    allow_missing: tuple[Text, ...] = ()
    """Globs of parameters that ``start_from`` may lack."""


class Every(Spec):
    """How often: one of the three."""

    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    minutes: PositiveNumber | None = None

    @model_validator(mode="after")
    def _one(self) -> Every:
        if sum(value is not None for value in (self.epochs, self.steps, self.minutes)) != 1:
            raise problem_at((), "give one of epochs, steps, minutes", "epochs: 1")
        return self


def _one_length(epochs: int | None, steps: int | None) -> None:
    if (epochs is None) == (steps is None):
        raise problem_at((), "give epochs or steps, one of them", "epochs: 60")


class Select(Spec):
    """Which weights are kept."""

    telling: ClassVar[str] = "metric"
    metric: Text = "last"
    """A metric of the primary task: the best on validation is kept; or last."""
    after: Literal["ramp_end"] | Share = "ramp_end"
    """From which share of training on; ramp_end: when every penalty has its full strength."""


class Optimizers(Spec):
    """Of the two kinds of parameters."""

    weights: Optimizer
    """Of networks, link operations and norms."""
    alphas: Optimizer | None = None
    """Of the architecture parameters; needed where the space has some."""


class AlphaStep(Spec):
    """What is special in the alpha half of an alternation."""

    batch_norm: Literal["update", "freeze"] = "update"
    """Whether it updates running statistics, as the authors' code does."""


class Finetune(Spec):
    """Training of the cut primary alone, after the search."""

    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    optimizer: Optimizer
    """Of its weights."""

    @model_validator(mode="after")
    def _one(self) -> Finetune:
        _one_length(self.epochs, self.steps)
        return self


class Training(Spec):
    """What is trained, and how long."""

    epochs: PositiveInt | None = None
    """Passes over the training samples that carry the primary's label."""
    steps: PositiveInt | None = None
    """Weight updates, instead of epochs."""
    batch_size: PositiveInt
    """Samples a step that carry the primary's label."""
    auxiliary_batch_size: NonNegativeInt = 0
    """Samples a step drawn from all, each with the labels it has."""
    updates: Literal["alternate", "joint"] = "alternate"
    """alternate: an alpha step, then a weight step on another batch (the paper); joint: both in one."""
    optimizers: Optimizers
    clip_gradient: PositiveNumber | None = None
    """Largest norm of the gradient of all weights."""
    alpha_step: AlphaStep = AlphaStep()
    select: Select = Select()
    """Which weights become the artifact."""
    evaluate_every: Every = Every(epochs=1)
    """How often all tasks are evaluated on validation."""
    evaluation_batch_size: PositiveInt = 32
    """Samples a batch in evaluation."""
    finetune: Finetune | None = None
    """An optional last phase."""

    @model_validator(mode="after")
    def _one(self) -> Training:
        _one_length(self.epochs, self.steps)
        return self


class Runtime(Spec):
    """Where and how, not what: may change when a run is resumed."""

    device: Text = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the forward pass, by autocast."""
    workers: NonNegativeInt = 0
    """Processes that load data; any number gives the same results."""
    threads: PositiveInt | None = None
    """Threads of torch on the CPU; torch's own choice if left out."""
    checkpoint_every: Every = Every(epochs=1)
    """How often a checkpoint is written."""


def _sum() -> Spec:
    return balances.get("sum")()


_BALANCE = Named(balances, "type", default="sum")


class SearchSpec(Document):
    """A whole search."""

    KIND: ClassVar[str] = "search"
    kind: Literal["search"] = "search"
    task_pair: TaskPairSpec
    """The tasks and their data."""
    primary: Text | None = None
    """The primary task, if not the task pair's own."""
    networks: dict[Text, NetworkUse] = Field(default={}, examples=[{"*": {"use": "network.yaml"}}])
    """Task, or ``*`` for all others -> its network."""
    space: SearchSpaceSpec
    """Which links there may be."""
    start_from: Literal["scratch", "single-task"] = "scratch"
    """single-task: every task is trained alone first (the paper's setting)."""
    balance: Annotated[Spec, _BALANCE] = Field(default_factory=_sum)
    """How the tasks' losses are combined."""
    training: Training
    runtime: Runtime = Runtime()
    baseline: Literal["single-task", "none"] = "single-task"
    """What is trained first to compare with, on the same number of batches with primary labels."""
    seed: NonNegativeInt = 0
    """Of initial weights, data order and augmentation."""

    @property
    def primary_task(self) -> str:
        return self.primary or self.task_pair.primary

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        return tuple(task for task in self.task_pair.tasks if task != self.primary_task)

    def network_of(self, task: str) -> NetworkUse | None:
        """The network that the spec names for a task."""
        return self.networks.get(task) or self.networks.get("*")

    @model_validator(mode="after")
    def _fits_together(self) -> SearchSpec:
        tasks = self.task_pair.tasks
        if self.primary_task not in tasks:
            raise problem_at(("primary",), f"{self.primary!r} is no task", suggest(self.primary_task, tasks), self.primary)
        for name in self.networks:
            if name != "*" and name not in tasks:
                raise problem_at(("networks", name), f"{name!r} is no task", suggest(name, [*tasks, "*"]))
        weights: Mapping[str, object] = getattr(self.balance, "weights", {})
        for name in weights:
            if name not in tasks:
                raise problem_at(("balance", "weights", name), f"{name!r} is no task", suggest(name, tasks))
        metrics: Mapping[str, str] = getattr(tasks[self.primary_task], "metric_directions", {})
        chosen = self.training.select.metric
        if chosen != "last" and metrics and chosen not in metrics:
            raise problem_at(
                ("training", "select", "metric"),
                f"{self.primary_task} has no metric {chosen!r}",
                suggest(chosen, [*metrics, "last"]),
                chosen,
            )
        return self
