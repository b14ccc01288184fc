"""Optimizers by torch's names, parameter groups by globs, and learning rates as a pure function of the step.

A schedule has no state of its own: ``learning_rate_factor(schedule, step, steps)`` times the group's own rate. So a run is resumed from the
step alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graphnas.graph.globs import matches
from graphnas.search.fused import SGD, Adam, AdamW, is_dense
from graphnas.spec.optimizer import Optimizer, Schedule, optimizer_classes

Named = Iterable[tuple[str, nn.Parameter]]
_FUSED: Mapping[str, Callable[..., torch.optim.Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
"""Optimizers for which torch has fused kernels on these devices, in every version that graphnas runs with."""
_DEVICES = ("cpu", "cuda")


def build_optimizer(spec: Optimizer, parameters: Named, of_balance: Named = ()) -> torch.optim.Optimizer:
    """The optimizer of these parameters, one group for each glob of ``spec.groups`` that matches some, and one for the rest.

    Parameters of the balance come first, in a group of their own without weight decay. Torch's fused kernels are used where it has them for
    the device, unless the spec says which of its implementations (``fused``, ``foreach``) is wanted.

    The first glob that matches a parameter's name takes it, written with the prefix ``branches.TASK.`` or without. Parameters without
    gradients (frozen by the user) are left out.

    Raises:
        ValueError, TypeError: torch refuses the options, or the parameters.
    """
    members: dict[str | None, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in parameters:
        if parameter.requires_grad:
            members.setdefault(_group_of(name, spec.groups), []).append((name, parameter))
    order = [glob for glob in (*spec.groups, None) if glob in members]
    groups: list[dict[str, Any]] = [{"params": members[glob], **(spec.groups[glob] if glob is not None else {})} for glob in order]
    if learned := list(of_balance):
        groups.insert(0, {"params": [(f"balance.{name}", parameter) for name, parameter in learned], "weight_decay": 0.0})
    for group in groups:
        group["initial_lr"] = group.get("lr", spec.lr)
    given = dict(spec.model_extra or {})
    if _fused(spec.type, groups, given):
        return _FUSED[spec.type](groups, lr=spec.lr, fused=True, **given)
    return optimizer_classes()[spec.type](groups, lr=spec.lr, **given)


def _fused(kind: str, groups: Iterable[Mapping[str, Any]], given: Mapping[str, Any]) -> bool:
    """Whether torch has one kernel for all of a step that fits these parameters, and nobody chose otherwise."""
    parameters = [parameter for group in groups for _, parameter in group["params"]]
    chosen = any(name in fields for fields in (given, *groups) for name in ("fused", "foreach", "differentiable"))
    fitting = all(p.device.type in _DEVICES and p.is_floating_point() and _fits(kind, p) for p in parameters)
    return kind in _FUSED and bool(parameters) and not chosen and fitting


def _fits(kind: str, parameter: Tensor) -> bool:
    """Whether the kernel knows how the parameter lies in memory: on the CPU that is what ``search.fused`` is about."""
    return parameter.device.type != "cpu" or parameter.is_contiguous() or (kind != "sgd" and is_dense(parameter))


def unmatched(spec: Optimizer, names: Iterable[str]) -> list[str]:
    """The globs of ``spec.groups`` that match no parameter's name."""
    known = list(names)
    return [glob for glob in spec.groups if not any(matches(glob, name) or matches(glob, without_branch(name)) for name in known)]


def _group_of(name: str, globs: Iterable[str]) -> str | None:
    return next((glob for glob in globs if matches(glob, name) or matches(glob, without_branch(name))), None)


def without_branch(name: str) -> str:
    """``branches.normals.head.weight`` as in the user's own network: ``head.weight``."""
    parts = name.split(".", 2)
    return parts[2] if len(parts) == 3 and parts[0] == "branches" else name


def learning_rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """What the learning rate is multiplied with at a step: a pure function.

    Warmup rises linearly over the first ``warmup`` share of the steps; what follows decays over the rest. ``milestones`` count
    from the start.

    Args:
        schedule: Of the spec.
        step: Updates done before this one, 0 to steps - 1.
        steps: All updates.
    """
    warm = schedule.warmup * steps
    if step < warm:
        return (step + 1) / (warm + 1) * _decay(schedule, 0.0, 0.0)
    return _decay(schedule, (step - warm) / max(steps - warm, 1), step / max(steps, 1))


def _decay(schedule: Schedule, position: float, progress: float) -> float:
    """The factor without warmup; ``position`` counts from the end of warmup, ``progress`` from the start, both shares."""
    match schedule.type:
        case "constant":
            return 1.0
        case "cosine":
            return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * position)) / 2
        case "poly":
            return schedule.final + (1 - schedule.final) * (1 - position) ** schedule.power
        case "linear":
            return schedule.final + (1 - schedule.final) * (1 - position)
        case "step":
            return schedule.gamma ** sum(progress >= milestone for milestone in schedule.milestones)


def set_learning_rates(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int, steps: int) -> float:
    """Give every group its rate for this step; that of the last group, the one without a glob if there is one, for the log."""
    factor = learning_rate_factor(schedule, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[-1]["lr"])


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What an optimizer remembers, by parameter name: tensors ``NAME/KEY``, and the plain values beside them."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for name, parameter in _named(optimizer):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{key}"] = value
            else:
                values[f"{name}/{key}"] = value
    return tensors, values


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Give an optimizer built from the same spec the state that ``optimizer_state`` returned."""
    state: dict[int, dict[str, Any]] = {}
    order = {name: (index, parameter) for index, (name, parameter) in enumerate(_named(optimizer))}
    for entry, value in [*tensors.items(), *values.items()]:
        name, _, key = entry.rpartition("/")
        index, parameter = order[name]
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)  # noqa: PLW2901  # in the parameter's memory format
        state.setdefault(index, {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _named(optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    """(name, parameter) in the order of the optimizer's own indices."""
    return [pair for group in optimizer.param_groups for pair in zip(group["param_names"], group["params"], strict=True)]
