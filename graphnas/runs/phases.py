"""From a search spec and a compiled network to the phases of a run: what is trained, how long, and what is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from torch import nn

from graphnas.compiler import Supernet
from graphnas.data import Data
from graphnas.graph.links import Direction
from graphnas.prune import changed_at_inference, cut_view, links_to_cut
from graphnas.search.alone import Alone
from graphnas.search.balance import Balance, Balancer, Setting, WeightedSum
from graphnas.search.budget import Budget, budget, same_labels
from graphnas.search.cutting import LiveCutting
from graphnas.search.gradient_probe import GradientProbe
from graphnas.search.loop import Phase
from graphnas.search.optimizers import build_optimizer
from graphnas.search.parts import Parts
from graphnas.search.precision import Precision
from graphnas.search.recorder import Watched, link_gates
from graphnas.search.step import Learner
from graphnas.search.validation import Validation
from graphnas.spec import SearchSpec, TaskPairSpec
from graphnas.spec.search import Finetune, Schedule
from graphnas.tasks.base import TaskType


@dataclass(frozen=True)
class Judge:
    """The metric of a task by which states are judged.

    Args:
        metric: Its name.
        direction: Whether less or more of it is better.
        after: Share of training before which nothing is selected; ``None``: the last state is taken.
        validated: Whether there is a validation split.
    """

    metric: str
    direction: Literal["min", "max"]
    after: float | Literal["ramp_end"] | None
    validated: bool


def task_types(pair: TaskPairSpec) -> dict[str, TaskType]:
    """The tasks of a task pair by the class that they have."""
    return cast("dict[str, TaskType]", pair.tasks)


def judge_of(spec: SearchSpec, task: str, data: Data) -> Judge:
    """How a network for this task is judged: by the metric of ``training.select`` if it has it, else by its type's first."""
    directions = task_types(spec.task_pair)[task].metric_directions
    select = spec.training.select
    validated = data.sizes()["validation"][task] > 0
    first = next(iter(directions))
    if select.metric == "last":
        return Judge(first, directions[first], None, validated)
    metric = select.metric if select.metric in directions else first  # another task that is trained alone may have other metrics
    return Judge(metric, directions[metric], select.after, validated)


@dataclass(frozen=True)
class Trained:
    """One network and how it is trained.

    Args:
        spec: Of the run.
        net: The supernet; for a baseline one without links.
        task: Whose prediction is judged: the primary, or the only task.
        data: Its data.
        judge: See there.
        precision: Device and number format.
    """

    spec: SearchSpec
    net: Supernet
    task: str
    data: Data
    judge: Judge
    precision: Precision

    @property
    def tasks(self) -> dict[str, TaskType]:
        known = task_types(self.spec.task_pair)
        return {task: known[task] for task in self.net.tasks}

    def balance(self) -> Balancer:
        """That of the spec, at work; the weighted sum where there is but one task to train."""
        chosen = cast("Balance", self.spec.balance)
        balance = chosen if len(self.net.tasks) > 1 else WeightedSum(weights=chosen.weights)
        labels = self.data.sizes()["training"]
        return balance.start(Setting(self.task, tuple(self.net.tasks), self.spec.seed, self.precision.device, labels))

    @property
    def batches_per_epoch(self) -> int:
        return self.data.steps_per_epoch(self.spec.training.batch_size)

    def shipped(self) -> nn.Module | None:
        """The task's network as it will be at inference, sharing parameters; ``None`` where the supernet has it as it is."""
        return cut_view(self.net) if changed_at_inference(self.net) else None

    def search_budget(self) -> Budget:
        """That of ``training``."""
        training = self.spec.training
        alternating = training.updates == "alternate" and any(True for _ in self.net.alpha_parameters())
        return budget(
            self.batches_per_epoch,
            epochs=training.epochs,
            steps=training.steps,
            alternating=alternating,
            accumulate=training.accumulate,
            alphas_every=training.alpha_step.every,
        )

    def parts(self) -> Parts:
        """How little of the network a step runs, and keeps."""
        runtime, apart = self.spec.runtime, self.spec.runtime.heads == "apart"
        leave_out = self.spec.training.leave_out
        return Parts(
            self.net, leave_out, self.precision.device, apart=apart, low_memory=runtime.memory == "low", compiled=runtime.compile_mode
        )

    def cutting(self) -> LiveCutting | None:
        """Of links that converge to zero, while training; ``None`` where there are none, or they are to stay."""
        wanted = self.spec.training.cut_links
        return LiveCutting(self.net, wanted.patience) if wanted.when == "zero" and links_to_cut(self.net) else None

    def finetune_budget(self, finetune: Finetune, before: Budget) -> Budget:
        """That of ``training.finetune``, whose epochs are numbered on."""
        size = self.spec.training.accumulate
        return budget(
            self.batches_per_epoch, epochs=finetune.epochs, steps=finetune.steps, alternating=False, follows=before, accumulate=size
        )

    def baseline_budget(self, search: Budget) -> Budget:
        """As many batches with this task's labels as the search has with the primary's."""
        return same_labels(search, self.batches_per_epoch)

    def training_phase(self, name: str, length: Budget) -> Phase:
        """Weights, and alphas where there are any."""
        net, training = self.net, self.spec.training
        optimizers = training.optimizers
        alphas = list(named_alphas(net))
        alpha_spec = optimizers.alphas or optimizers.weights  # of a network without alphas neither is used: see check.py
        balance = self.balance()
        learner = Learner(
            network=net,
            tasks=self.tasks,
            balance=balance,
            weights=build_optimizer(optimizers.weights, net.named_weight_parameters(), balance.named_parameters().items()),
            precision=self.precision,
            alphas=build_optimizer(alpha_spec, alphas) if alphas else None,
            penalty=net.penalty if net.links else None,
            before_step=net.before_step if net.anneals else None,
            after_alpha_step=net.after_alpha_step if net.links else None,
            clip_gradient=training.clip_gradient,
            freeze_batch_norm=training.alpha_step.batch_norm == "freeze",
            parts=self.parts(),
        )
        auxiliary = training.auxiliary_batch_size if len(net.tasks) > 1 else 0
        phase = self._phase(
            name, learner, length, auxiliary, optimizers.weights.schedule, alpha_spec.schedule, self.shipped(), gate_means(net),
            watched=self.watched(),
        )  # fmt: skip
        return replace(phase, alone=Alone(net, learner)) if training.finish_alone and len(net.tasks) > 1 else phase

    def watched(self) -> Watched:
        """What is written down beside the metrics: the gates of every link; how the tasks' gradients agree, where there are several."""
        every, links = self.spec.runtime.log_gradients, {link.id: link for link in self.net.links}
        if every is None or len(self.net.tasks) < 2:
            return Watched(link_gates(self.net), links)
        return Watched(link_gates(self.net), links, GradientProbe(self.net, self.tasks, self.precision), every)

    def finetune_phase(self, name: str, length: Budget, finetune: Finetune) -> Phase:
        """The weights of what is shipped, alone."""
        shipped = self.shipped() or self.net.view([self.task])
        learner = Learner(
            network=shipped,
            tasks={self.task: self.tasks[self.task]},
            balance=WeightedSum(weights=cast("Balance", self.spec.balance).weights).start(Setting(self.task, (self.task,))),
            weights=build_optimizer(finetune.optimizer, shipped.named_parameters()),
            precision=self.precision,
            before_step=(lambda _: self.net.before_step(1.0)) if self.net.anneals else None,
            clip_gradient=self.spec.training.clip_gradient,
        )
        schedule = finetune.optimizer.schedule
        return self._phase(name, learner, length, 0, schedule, schedule, None, dict[str, float], after=0.0)

    def _phase(
        self,
        name: str,
        learner: Learner,
        length: Budget,
        auxiliary: int,
        weights_schedule: Schedule,
        alphas_schedule: Schedule,
        shipped: nn.Module | None,
        gates: Callable[[], Mapping[str, float]],
        after: float | None = None,
        watched: Watched | None = None,
    ) -> Phase:
        training, judge, workers = self.spec.training, self.judge, self.spec.runtime.workers
        late = self.net.ramp_end if judge.after == "ramp_end" else judge.after
        cutting = self.cutting() if learner.network is self.net else None
        validation = Validation(
            learner.network, shipped, learner.tasks, self.task, self.data, training.evaluation_batch_size, workers, self.precision,
            judge.metric, judge.direction, after if after is not None and late is not None else late, cutting,
        )  # fmt: skip
        return Phase(
            name, learner, length, training.batch_size, auxiliary, weights_schedule, alphas_schedule,
            validation if judge.validated else None, training.evaluate_every, gates, training.on_nan, watched,
            cutting=cutting,
        )  # fmt: skip


def named_alphas(net: Supernet) -> Iterator[tuple[str, nn.Parameter]]:
    """The alphas that the alpha steps train, by their names in the supernet."""
    wanted = {id(alpha) for alpha in net.alpha_parameters()}
    return ((name, parameter) for name, parameter in net.named_parameters() if id(parameter) in wanted)


def gate_means(net: Supernet) -> Callable[[], Mapping[str, float]]:
    """Direction -> mean of its links' gates, each the sum over the link's candidates that carry something."""
    directions: dict[str, Direction] = {link.id: link.direction for link in net.links}
    operations = net.link_operations
    carrying = {link.id: [k for k, name in enumerate(link.operations) if name in operations[link.id]] for link in net.links}

    def means() -> Mapping[str, float]:
        found: dict[str, list[float]] = {}
        for link, gate in net.gates().items():
            found.setdefault(directions[link], []).append(float(gate.detach()[carrying[link]].sum()))
        return {direction: sum(values) / len(values) for direction, values in found.items()}

    return means
