"""``search``: ties task pair, networks and space to optimizers, schedule, seed and where to start from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails

from graphnas.errors import suggest
from graphnas.registry import balances
from graphnas.schema import (
    FilePath,
    Flag,
    Named,
    NonNegativeInt,
    PositiveInt,
    PositiveNumber,
    Share,
    Spec,
    Text,
    error_at,
    located,
    problem,
    refuse,
)
from graphnas.spec.document import Document
from graphnas.spec.network import NetworkSpec
from graphnas.spec.optimizer import Optimizer, Schedule
from graphnas.spec.search_space import SearchSpaceSpec
from graphnas.spec.task_pair import TaskPairSpec

__all__ = [
    "CUDA_GRAPHS",
    "AlphaStep",
    "CutLinks",
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


CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
"""Those of torch.compile."""
CUDA_GRAPHS = frozenset({"reduce-overhead", "max-autotune"})
"""The modes that replay CUDA graphs, whose results stand in the same memory each time."""


class NetworkUse(Spec):
    """A task's network."""

    telling: ClassVar[str | None] = "use"
    use: NetworkSpec = Field(examples=["network.yaml"])
    """A network spec: a file, a shipped one's name, or the spec itself."""
    parameters: dict[Text, Any] = Field(default={}, examples=[{"channels": 64}])
    """Values of its parameters; the others take their default, ``out_channels`` comes from the task."""
    start_from: FilePath | None = Field(default=None, examples=["runs/single/artifact"])
    """Weights to start from: a safetensors file, an artifact's or a run's folder; random (or the network's own), if left out."""
    part: Text | None = Field(default=None, examples=["encoder"])
    """Only the weights of ``start_from`` below this name, without it; all, if left out."""
    into: Text | None = Field(default=None, examples=["encoder"])
    """The part of the network that they are for, the others keep what they have; the whole network, if left out."""
    allow_missing: tuple[Text, ...] = Field(default=(), examples=[["head.**"]])
    """Globs of the network's names that ``start_from`` may lack, or have in another shape: they keep what they have."""
    allow_unused: tuple[Text, ...] = Field(default=(), examples=[["fc.*"]])
    """Globs of names in ``start_from`` that the network need not have."""

    @model_validator(mode="after")
    def _something_to_load(self) -> NetworkUse:
        given = {"part": self.part, "into": self.into, "allow_missing": self.allow_missing, "allow_unused": self.allow_unused}
        if self.start_from is None:
            refuse(error_at((name,), f"{name} is of weights, and there are none", "start_from: FILE") for name in given if given[name])
        return self

    @model_validator(mode="after")
    def _known_parameters(self) -> NetworkUse:
        refuse(error_at(("parameters", name), message, fix) for name, message, fix in self.use.wrong_parameters(self.parameters))
        return self


class Every(Spec):
    """How often: one of the three."""

    epochs: PositiveInt | None = Field(default=None, examples=[1])
    """Passes over the training samples that carry the primary's label."""
    steps: PositiveInt | None = Field(default=None, examples=[100])
    """Weight updates."""
    minutes: PositiveNumber | None = Field(default=None, examples=[10])
    """Minutes."""

    @model_validator(mode="after")
    def _one(self) -> Every:
        if sum(value is not None for value in (self.epochs, self.steps, self.minutes)) != 1:
            refuse([error_at((), "give one of epochs, steps, minutes", "epochs: 1")])
        return self


class Select(Spec):
    """Which weights are kept."""

    telling: ClassVar[str | None] = "metric"
    metric: Text = Field(default="last", examples=["mean_angle"])
    """A metric of the primary task: the best on validation is kept; or last."""
    after: Literal["ramp_end"] | Share = Field(default="ramp_end", examples=[0.8])
    """From which share of training on; ramp_end: when every penalty has its full strength."""


class Optimizers(Spec):
    """Of the two kinds of parameters."""

    weights: Optimizer = Field(examples=[{"type": "adamw", "lr": 3e-3}])
    """Of networks, link operations and norms."""
    alphas: Optimizer | None = Field(default=None, examples=[{"type": "adam", "lr": 1e-2}])
    """Of the architecture parameters; needed where the space has some."""


class AlphaStep(Spec):
    """What is special in the alpha half of an alternation."""

    batch_norm: Literal["update", "freeze"] = "update"
    """Whether it updates running statistics, as the authors' code does."""
    every: PositiveInt = 1
    """n: alphas are stepped in the first update of an epoch and in every n-th after it; the weights get the other batches."""


class CutLinks(Spec):
    """When links that converge to zero are cut while training goes on: it gets cheaper, and nothing that is computed changes."""

    telling: ClassVar[str | None] = "when"
    when: Literal["zero", "never"] = "zero"
    """zero: once the gate is exactly zero, which proximal penalties and clamped gates lead to; never: at the end alone."""
    patience: PositiveInt = 2
    """Epochs in a row at whose end it must be zero, since a projected gate may leave zero again; a cut link does not come back."""


def _one_length(epochs: int | None, steps: int | None) -> Iterator[InitErrorDetails]:
    if (epochs is None) == (steps is None):
        yield error_at((), "give epochs or steps, one of them", "epochs: 60")


class Finetune(Spec):
    """Training of the cut primary alone, after the search."""

    epochs: PositiveInt | None = Field(default=None, examples=[5])
    """Passes over the training samples that carry the primary's label."""
    steps: PositiveInt | None = Field(default=None, examples=[100])
    """Weight updates, instead of epochs."""
    optimizer: Optimizer = Field(examples=[{"type": "adamw", "lr": 1e-4}])
    """Of its weights."""

    @model_validator(mode="after")
    def _one(self) -> Finetune:
        refuse(_one_length(self.epochs, self.steps))
        return self


class Training(Spec):
    """What is trained, and how long."""

    epochs: PositiveInt | None = Field(default=None, examples=[60])
    """Passes over the training samples that carry the primary's label."""
    steps: PositiveInt | None = Field(default=None, examples=[800])
    """Weight updates, instead of epochs."""
    batch_size: PositiveInt = Field(examples=[8])
    """Samples a step that carry the primary's label."""
    auxiliary_batch_size: NonNegativeInt = 0
    """Samples a step drawn from all, each with the labels it has."""
    updates: Literal["alternate", "joint"] = "alternate"
    """alternate: an alpha step, then a weight step on another batch (the paper); joint: both in one."""
    optimizers: Optimizers = Field(examples=[{"weights": {"type": "adamw", "lr": 3e-3}, "alphas": {"type": "adam", "lr": 1e-2}}])
    """Of weights and of alphas."""
    accumulate: PositiveInt = 1
    """Batches whose gradients are added up for one update; each task's loss is the mean over all samples with its label."""
    clip_gradient: PositiveNumber | None = Field(default=None, examples=[1.0])
    """Largest norm of the gradient of all weights; any, if left out."""
    on_nan: Literal["stop", "skip", "rewind"] = "stop"
    """When a loss or a gradient is not finite: stop; skip that update; or rewind to the last checkpoint and leave it out there."""
    alpha_step: AlphaStep = AlphaStep()
    """What differs in an alpha step from a weight step, and how often there is one."""
    leave_out: Literal["exact", "always", "never"] = "exact"
    """Whether what a batch's losses do not need is left out: exact, where it has no running statistics and draws nothing; always; never."""
    cut_links: CutLinks = Field(default=CutLinks(), examples=[{"patience": 2}, "never"])
    """When links are cut while training goes on."""
    finish_alone: Flag = True
    """Whether the primary goes on alone once auxiliaries weigh nothing for the rest of training and no link leads into it."""
    select: Select = Field(default=Select(), examples=[{"metric": "mean_angle", "after": "ramp_end"}])
    """Which weights become the artifact; the last, if left out."""
    evaluate_every: Every = Field(default=Every(epochs=1), examples=[{"epochs": 5}])
    """How often all tasks are evaluated on validation; every epoch, if left out."""
    evaluation_batch_size: PositiveInt = 32
    """Samples a batch in evaluation."""
    finetune: Finetune | None = Field(default=None, examples=[{"epochs": 5, "optimizer": {"type": "adamw", "lr": 1e-4}}])
    """Training of the cut primary alone, after the search; none, if left out."""

    @model_validator(mode="after")
    def _one(self) -> Training:
        refuse(_one_length(self.epochs, self.steps))
        return self


def _known_mode(value: Any) -> Any:
    if isinstance(value, str) and value not in get_args(CompileMode):
        raise problem(f"torch.compile has no mode {value!r}", suggest(value, get_args(CompileMode)))
    return value


class Runtime(Spec):
    """Where and how, not what: may change when a run is resumed."""

    device: Text = Field(default="auto", examples=["cuda:1"])
    """auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the forward pass, by autocast."""
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    """How images lie in memory while training; channels_last is often faster for convolutions. What is saved is contiguous."""
    workers: NonNegativeInt = 0
    """Processes that load data; any number gives the same results."""
    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    """Decoded samples: auto keeps them in memory, up to 1 GiB a process; memory keeps all; disk keeps them in files; none decodes anew."""
    cache_folder: FilePath | None = Field(default=None, examples=["/scratch/samples"])
    """Where cache: disk keeps them, for all runs; graphnas/samples in the user's folder of caches, if left out."""
    threads: PositiveInt | None = Field(default=None, examples=[4])
    """Threads of torch on the CPU; torch's own choice, if left out."""
    checkpoint_every: Every = Field(default=Every(epochs=1), examples=[{"minutes": 10}])
    """How often a checkpoint is written; every epoch, if left out."""
    compile: Annotated[Flag | CompileMode, BeforeValidator(_known_mode)] = Field(default=False, examples=[True, "reduce-overhead"])
    """Whether torch.compile compiles what training runs, or in which of its modes: minutes at the start, and after links are cut; results
    differ by rounding, and where dropout draws. reduce-overhead and max-autotune replay CUDA graphs on a GPU."""
    memory: Literal["normal", "low"] = "normal"
    """low: what was computed within a stage is computed again on the way back instead of kept; the same results, slower, in less memory."""
    heads: Literal["apart", "together"] = "apart"
    """apart: one head after the other, forward and back, in less memory; together: all forward, then all back. Results are alike."""
    log_gradients: Every | None = Field(default=None, examples=[{"epochs": 1}])
    """How often the gradients of the tasks are compared (cosines, in gradients.jsonl); never, if left out."""

    @property
    def compile_mode(self) -> str | None:
        """The mode of torch.compile; ``None`` where nothing is compiled."""
        return self.compile if isinstance(self.compile, str) else "default" if self.compile else None

    @model_validator(mode="after")
    def _one_of_two(self) -> Runtime:
        if self.compile and self.memory == "low":
            refuse(
                [error_at(("compile",), "memory: low computes stages again in a way that torch.compile does not take", "compile: false")]
            )
        return self


_AS_THE_SPACE_SAYS = object()


def _balance(value: Any, info: ValidationInfo) -> Any:
    """Left out: that of the space, where there are losses to combine; else their sum."""
    if value is not _AS_THE_SPACE_SAYS:
        return value
    own = getattr(info.data.get("space"), "balance", None)
    return own if own is not None and len(_tasks(info)) > 1 else balances.get("sum")()


class SearchSpec(Document):
    """A whole search."""

    KIND: ClassVar[str] = "search"
    kind: Literal["search"] = "search"
    """This kind of file."""
    task_pair: TaskPairSpec = Field(examples=["task_pair.yaml"])
    """The tasks and their data: a file, a shipped one's name, or the spec itself."""
    primary: Text | None = Field(default=None, examples=["segmentation"])
    """The primary task, if not the task pair's own."""
    networks: dict[Text, NetworkUse] = Field(default={}, examples=[{"*": {"use": "network.yaml"}}])
    """Task, or ``*`` for all others -> its network; objects may be given instead where the search is started from Python."""
    space: SearchSpaceSpec = Field(examples=["aux-nas"])
    """Which links there may be: a file, a shipped one's name, or the spec itself."""
    start_from: Literal["scratch", "single-task"] = "scratch"
    """single-task: every task is trained alone first (the paper's setting)."""
    balance: Annotated[Any, Named(balances, "type", default="sum"), BeforeValidator(_balance)] = Field(
        default_factory=lambda: _AS_THE_SPACE_SAYS,
        validate_default=True,
        examples=[{"type": "sum", "weights": {"segmentation": {"start": 12, "end": 0}}}],
    )
    """How the tasks' losses are combined; as the space says, else their plain sum, if left out."""
    training: Training = Field(examples=[{"epochs": 60, "batch_size": 8, "optimizers": {"weights": {"type": "adamw", "lr": 3e-3}}}])
    """How long, in which steps, with which optimizers."""
    runtime: Runtime = Runtime()
    """Where and how, not what."""
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

    # Each field is held against those before it that are right, so that one wrong field hides nothing that is wrong in another.

    @field_validator("primary")
    @classmethod
    def _primary_is_a_task(cls, value: str | None, info: ValidationInfo) -> str | None:
        tasks = _tasks(info)
        if value is not None and tasks and value not in tasks:
            refuse([error_at((), f"{value!r} is no task", suggest(value, tasks), value)])
        return value

    @field_validator("networks")
    @classmethod
    def _networks_of_tasks(cls, value: dict[str, NetworkUse], info: ValidationInfo) -> dict[str, NetworkUse]:
        refuse(_no_tasks((), value, _tasks(info), "*"))
        return value

    @field_validator("balance")
    @classmethod
    def _weights_of_tasks(cls, value: Any, info: ValidationInfo) -> Any:
        tasks = _tasks(info)
        alone = len(tasks) == 1 and getattr(value, "several", False)
        message = f"{getattr(value, 'type', '')!r} is about two tasks or more, and {next(iter(tasks), '')!r} is the only one"
        errors = [error_at((), message, "balance: sum, or add an auxiliary task")] if alone else []
        refuse([*errors, *_no_tasks(("weights",), getattr(value, "weights", {}), tasks)])
        return value

    @field_validator("runtime")
    @classmethod
    def _gradients_as_needed(cls, value: Runtime, info: ValidationInfo) -> Runtime:
        balance, training = info.data.get("balance"), info.data.get("training")
        errors: list[InitErrorDetails] = []
        if value.precision == "float16" and getattr(balance, "compares_gradients", False):
            message = f"{getattr(balance, 'type', '')!r} compares gradients, which the scaler of float16 multiplies and leaves out"
            errors.append(error_at(("precision",), message, "precision: bfloat16"))
        if value.compile_mode is not None and getattr(balance, "compares_gradients", False):
            name = getattr(balance, "type", "")
            message = f"{name!r} asks which weights a loss reaches: torch.compile gives zeros, not nothing, to the others"
            errors.append(error_at(("compile",), message, "compile: false, or balance: sum"))
        if value.compile_mode in CUDA_GRAPHS and isinstance(training, Training) and training.accumulate > 1:
            message = (
                f"CUDA graphs write a batch's gradients over those of the one before, and accumulate: {training.accumulate} adds them up"
            )
            errors.append(error_at(("compile",), message, "compile: true, or accumulate: 1"))
        refuse(errors)
        return value

    @field_validator("space")
    @classmethod
    def _space_of_tasks(cls, value: SearchSpaceSpec, info: ValidationInfo) -> SearchSpaceSpec:
        pair = info.data.get("task_pair")
        if pair is not None and "primary" in info.data:
            refuse(located(value.problems_with(info.data["primary"] or pair.primary, pair.tasks)))
        return value

    @field_validator("training")
    @classmethod
    def _losses_that_add_up(cls, value: Training, info: ValidationInfo) -> Training:
        balance = info.data.get("balance")
        if value.accumulate > 1 and balance is not None and not getattr(balance, "linear", False):
            message = f"{getattr(balance, 'type', '')!r} looks at all losses of an update at once, which come batch by batch"
            refuse([error_at(("accumulate",), message, "balance: sum, or accumulate: 1", value.accumulate)])
        return value

    @field_validator("training")
    @classmethod
    def _metric_of_the_primary(cls, value: Training, info: ValidationInfo) -> Training:
        primary = info.data.get("primary") or getattr(info.data.get("task_pair"), "primary", None)
        metrics: Mapping[str, str] = getattr(_tasks(info).get(primary), "metric_directions", {})
        chosen = value.select.metric
        if chosen != "last" and metrics and chosen not in metrics:
            message = f"{primary} has no metric {chosen!r}"
            refuse([error_at(("select", "metric"), message, suggest(chosen, [*metrics, "last"]), chosen)])
        return value


def _tasks(info: ValidationInfo) -> Mapping[Any, Any]:
    """The tasks, if the task pair is right."""
    return getattr(info.data.get("task_pair"), "tasks", {})


def _no_tasks(path: tuple[str, ...], names: Iterable[str], tasks: Mapping[Any, Any], *also: str) -> Iterator[InitErrorDetails]:
    """The keys that name no task."""
    for name in names if tasks else ():
        if name not in tasks and name not in also:
            yield error_at((*path, name), f"{name!r} is no task", suggest(name, [*tasks, *also]), key=True)
