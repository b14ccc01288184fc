"""What can only be checked once data and networks are there, before anything is trained or written."""

from __future__ import annotations

from itertools import chain

from graphnas.compiler import Supernet
from graphnas.data import Data
from graphnas.errors import Problem, SpecError, suggest
from graphnas.runs.phases import named_alphas, task_types
from graphnas.runs.training_size import refused_batches, refused_sizes
from graphnas.search.optimizers import build_optimizer, unmatched, without_branch
from graphnas.spec import SearchSpec


def check(spec: SearchSpec, net: Supernet, data: Data) -> None:
    """Refuse a run that could not end well.

    Raises:
        SpecError: All that is wrong.
    """
    sizes = (refused_sizes(spec, net), refused_batches(spec, net))
    found = (_inputs(spec, net), _predictions(spec, net), *sizes, _select(spec, data), _updates(spec, net, data), _alphas(spec, net))
    problems = [*chain.from_iterable(found), *_optimizers(spec, net)]
    if problems:
        raise SpecError(problems)


def _inputs(spec: SearchSpec, net: Supernet) -> list[Problem]:
    known = spec.task_pair.inputs
    if len(known) == 1:
        return []  # whatever a network calls it
    return [
        spec.problem(
            f"the network of {task!r} reads {name!r}, which is no input of the task pair", "networks", task, fix=suggest(name, known)
        )
        for task in net.tasks
        for name in net.recorded[task].inputs
        if name not in known
    ]


def _predictions(spec: SearchSpec, net: Supernet) -> list[Problem]:
    known, problems = task_types(spec.task_pair), list[Problem]()
    for task in net.tasks:
        graph = net.recorded[task].graph
        wrong = known[task].misfit(graph.by_name[graph.outputs["prediction"]].type)
        if wrong is not None:
            fix = "a head with out_channels: $out_channels" + ("; linear_head predicts a vector" if known[task].per_sample else "")
            problems.append(spec.problem(f"the network of {task!r} does not fit: {wrong}", "networks", task, fix=fix))
    return problems


def _select(spec: SearchSpec, data: Data) -> list[Problem]:
    primary = spec.primary_task
    if spec.training.select.metric == "last" or data.sizes().get("validation", {}).get(primary):
        return []
    message = f"there are no validation samples of {primary!r} to select on"
    fix = "give a source a validation split (validation: {fraction: 0.2}), or select: last"
    return [spec.problem(message, "training", "select", "metric", fix=fix)]


def _alphas(spec: SearchSpec, net: Supernet) -> list[Problem]:
    count = sum(1 for _ in net.alpha_parameters())
    if count == 0 or spec.training.optimizers.alphas is not None:
        return []
    message = f"no optimizer is given for the alphas of {count} links"
    return [spec.problem(message, "training", "optimizers", "alphas", fix="alphas: {type: adam, lr: 1e-2}")]


def _updates(spec: SearchSpec, net: Supernet, data: Data) -> list[Problem]:
    """An epoch must have the batches of one update."""
    training, batches = spec.training, data.steps_per_epoch(spec.training.batch_size)
    alternating = training.updates == "alternate" and any(True for _ in net.alpha_parameters())
    needed = training.accumulate * (2 if alternating else 1)
    if (training.accumulate == 1 and training.alpha_step.every == 1) or needed <= batches:
        return []
    field = ("accumulate",) if training.accumulate > 1 else ("alpha_step", "every")
    message = f"an update takes {needed} batches, and an epoch has {batches} with labels of {spec.primary_task!r}"
    return [spec.problem(message, "training", *field, fix="a lower training.batch_size, or more labels")]


def _optimizers(spec: SearchSpec, net: Supernet) -> list[Problem]:
    """What torch refuses, and globs that match nothing. (A baseline has no links: there a glob may match nothing.)"""
    optimizers, finetune = spec.training.optimizers, spec.training.finetune
    names = list(net.named_weight_parameters())
    own = [(name, parameter) for name, parameter in names if name.startswith(f"branches.{net.primary}.")]
    wanted = [(optimizers.weights, names, ("training", "optimizers", "weights"))]
    if optimizers.alphas is not None and (alphas := list(named_alphas(net))):
        wanted.append((optimizers.alphas, alphas, ("training", "optimizers", "alphas")))
    if finetune is not None:
        wanted.append((finetune.optimizer, own, ("training", "finetune", "optimizer")))
    problems: list[Problem] = []
    for optimizer, parameters, path in wanted:
        short = [without_branch(name) for name, _ in parameters]
        for glob in unmatched(optimizer, [name for name, _ in parameters]):
            problems.append(spec.problem(f"{glob!r} matches no parameter", *path, "groups", glob, fix=suggest(glob, short)))
        try:
            build_optimizer(optimizer, parameters)
        except (ValueError, TypeError) as error:
            problems.append(spec.problem(f"torch refuses this {optimizer.type}: {error}", *path))
    return problems
