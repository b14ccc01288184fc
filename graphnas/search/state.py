"""All that a phase of training needs to go on, bit for bit: as the tensors and values of a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from graphnas.errors import ArtifactError, Problem, Where
from graphnas.search import random_state
from graphnas.search.checkpoint import Checkpoint
from graphnas.search.optimizers import optimizer_state, restore_optimizer
from graphnas.search.step import Learner


@dataclass
class State:
    """Where a phase stands, apart from weights, optimizers and generators.

    Args:
        step: Weight updates done.
        epoch: Complete epochs.
        position: Updates in the current epoch.
        loss_sums: Task -> sum of its losses in the current epoch.
        loss_counts: Task -> how many those are.
        best: Value, step and epoch of what was selected so far.
        left_out: Numbers of the updates that are left out, from 0.
        at_zero: Link that is not cut -> epochs in a row after which its gates were exactly zero.
        cut: Ids of the links that were cut while training, in that order.
        best_cut: Those of them that were cut in what was selected so far.
        alone: Whether the primary goes on alone.
        train_seconds: Of training alone.
        total_seconds: With evaluation and checkpoints.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict[str, float])
    loss_counts: dict[str, int] = field(default_factory=dict[str, int])
    best: dict[str, Any] | None = None
    left_out: list[int] = field(default_factory=list[int])
    at_zero: dict[str, int] = field(default_factory=dict[str, int])
    cut: list[str] = field(default_factory=list[str])
    best_cut: list[str] = field(default_factory=list[str])
    alone: bool = False
    train_seconds: float = 0.0
    total_seconds: float = 0.0


def captured(learner: Learner, state: State, best: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the plain values.

    Args:
        learner: What is trained.
        state: Where it stands.
        best: The network's tensors at the best evaluation so far.
    """
    weights, weights_values = optimizer_state(learner.weights)
    alphas, alphas_values = ({}, {}) if learner.alphas is None else optimizer_state(learner.alphas)
    generators, generator_values = random_state.capture(learner.precision.device)
    groups = {"network": learner.network.state_dict(), "weights": weights, "alphas": alphas, "best": best, "random": generators}
    groups["balance"] = learner.balance.state()
    values = {
        "state": vars(state),
        "weights": weights_values,
        "alphas": alphas_values,
        "random": generator_values,
        "scaler": None if learner.precision.scaler is None else learner.precision.scaler.state_dict(),
    }
    return {f"{group}/{name}": tensor for group, found in groups.items() for name, tensor in found.items()}, values


def restored(saved: Checkpoint, learner: Learner, stem: Path) -> tuple[State, dict[str, Tensor]]:
    """Put the learner and all generators where they were; where the phase stands, and the best tensors so far.

    Raises:
        ArtifactError: The checkpoint is of another network.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    for entry, tensor in saved.tensors.items():
        group, _, name = entry.partition("/")
        groups.setdefault(group, {})[name] = tensor
    values = saved.values
    try:
        learner.network.load_state_dict(groups["network"])
        restore_optimizer(learner.weights, groups.get("weights", {}), values["weights"])
        if learner.alphas is not None:
            restore_optimizer(learner.alphas, groups.get("alphas", {}), values["alphas"])
        learner.balance.restore(groups.get("balance", {}))
    except (RuntimeError, LookupError) as error:
        said = " ".join(str(error).split())
        raise ArtifactError(
            Problem(f"the checkpoint does not fit the network: {said}", Where(f"{stem}.json"), fix="give the same networks as before")
        ) from error
    if learner.precision.scaler is not None and values["scaler"] is not None:
        learner.precision.scaler.load_state_dict(values["scaler"])
    random_state.restore(groups["random"], values["random"], learner.precision.device)
    best = {name: tensor.to(learner.precision.device) for name, tensor in groups.get("best", {}).items()}
    return State(**values["state"]), best
