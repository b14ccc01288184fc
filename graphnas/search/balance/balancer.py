"""A balance at work: what puts gradients on the parameters in each step of a phase, and remembers what it needs to.

A ``Balance`` is what the user wrote, and frozen. Its ``Balancer`` lives as long as one phase of training; its tensors are part of the
checkpoint, and what it draws at random comes from (seed, number of the draw), so that a run goes on bit for bit and the draws of a balance
change neither dropout nor anything else that is random.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from graphnas.search import random_state


@dataclass(frozen=True)
class Setting:
    """What a balance must know of the phase.

    Args:
        primary: The primary task.
        tasks: All tasks that are trained.
        seed: Of the run.
        device: Of the losses.
        labels: Task -> number of training samples that have its label; empty where that is not known.
    """

    primary: str
    tasks: tuple[str, ...]
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    labels: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        return tuple(task for task in self.tasks if task != self.primary)


@dataclass(frozen=True)
class Descent:
    """One weight step, or one joint step.

    Args:
        losses: Task -> scalar loss, of the tasks that have labels in the batch.
        progress: Share of training, 0 to 1.
        penalty: Of the search space; ``None`` where there is none.
        weights: Parameters that follow the balance.
        alphas: Parameters that follow the weighted sum.
        rate: Learning rate of the weights.
        scaler: Of float16.
        again: The losses of the same batch with the parameters as they are when it is called.
        held_out: Those of a batch that this step does not train the weights on where there is one, else of the same.
    """

    losses: Mapping[str, Tensor]
    progress: float
    penalty: Tensor | None
    weights: Sequence[nn.Parameter]
    alphas: Sequence[nn.Parameter]
    rate: float
    scaler: torch.amp.GradScaler | None
    again: Callable[[], Mapping[str, Tensor]]
    held_out: Callable[[], Mapping[str, Tensor]]


class Weighting(Protocol):
    """What a balancer must know of its balance."""

    def combine(self, losses: Mapping[str, Tensor], progress: float) -> Tensor: ...

    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor: ...

    def weight(self, task: str, progress: float) -> float: ...


class Balancer(ABC):
    """A balance at work in one phase."""

    @property
    def linear(self) -> bool:
        """Whether the weights descend the weighted sum too, and nothing else is to be done."""
        return False

    @abstractmethod
    def backward(self, descent: Descent) -> bool:
        """Put gradients on the parameters.

        Returns:
            Whether there is anything to descend.
        """

    @abstractmethod
    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        """What the alphas descend."""

    def weightless(self, tasks: Collection[str], progress: float) -> frozenset[str]:
        """Those of the tasks whose losses weigh nothing from this share of training to its end."""
        return frozenset()

    def unseen(self, tasks: Collection[str]) -> bool:
        """Whether it must see the losses of these tasks, which have labels in a batch, before it can weigh them."""
        return False

    def see(self, losses: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Look at the losses of a batch, before anything is trained on it."""

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of its own that the optimizer of the weights trains, without weight decay."""
        return {}

    def after_step(self, descent: Descent) -> None:  # noqa: B027  # most have nothing to do
        """Called when the weights were updated."""

    def after_epoch(self) -> None:  # noqa: B027
        """Called at the end of every epoch."""

    def state(self) -> dict[str, Tensor]:
        """All that it remembers."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Remember what ``state`` returned."""


class Combining(Balancer):
    """Descends one scalar, a function of the losses and of nothing else."""

    def __init__(self, balance: Weighting, setting: Setting) -> None:
        self._balance = balance

    @property
    def linear(self) -> bool:
        return bool(getattr(self._balance, "linear", False))

    def backward(self, descent: Descent) -> bool:
        total = self._balance.combine(descent.losses, descent.progress) if descent.losses else None
        return descend(total, descent.penalty, descent.scaler)

    def weighted_sum(self, losses: Mapping[str, Tensor], progress: float) -> Tensor:
        return self._balance.weighted_sum(losses, progress)

    def weightless(self, tasks: Collection[str], progress: float) -> frozenset[str]:
        if not self.linear:
            return frozenset()
        weight = self._balance.weight  # from zero to zero it is zero all the way: it is linear, and then constant
        return frozenset(task for task in tasks if weight(task, progress) == 0 == weight(task, 1.0))


def descend(total: Tensor | None, penalty: Tensor | None, scaler: torch.amp.GradScaler | None) -> bool:
    """Gradients of ``total + penalty``; whether there are any."""
    terms = [term for term in (total, penalty) if term is not None]
    if not any(term.requires_grad for term in terms):
        return False
    both = terms[0] if len(terms) == 1 else terms[0] + terms[1]
    (both if scaler is None else scaler.scale(both)).backward()  # pyright: ignore[reportUnknownMemberType]
    return True


def numbers(vector: Tensor) -> list[float]:
    """The entries of a vector."""
    return [float(value) for value in vector.detach().cpu().numpy()]


class Draws:
    """Random numbers of a balance's own.

    Args:
        setting: Of the phase.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._count = 0

    @contextmanager
    def seeded(self) -> Generator[None]:
        """Torch's generators are seeded by (seed, number of this draw) meanwhile, and then as they were before."""
        with random_state.given_back(self._setting.device):
            torch.manual_seed(random_state.derive(self._setting.seed, "balance", str(self._count)))  # pyright: ignore[reportUnknownMemberType]
            yield
        self._count += 1

    def state(self) -> dict[str, Tensor]:
        """How many draws there were."""
        return {"draws": torch.tensor(self._count)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on after so many draws."""
        self._count = int(state["draws"])
