"""What can only be checked once data and networks are there, before anything is trained or written."""

from __future__ import annotations

from graphnas.compiler import Supernet
from graphnas.data import Data
from graphnas.errors import Problem, SpecError, suggest
from graphnas.spec import SearchSpec


def check(spec: SearchSpec, net: Supernet, data: Data) -> None:
    """Refuse a run that could not end well.

    Raises:
        SpecError: All that is wrong.
    """
    problems = [*_inputs(spec, net), *_select(spec, data), *_alphas(spec, net)]
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
