"""What a gate function and a penalty are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from graphnas.schema import Number, Share, Spec, problem


class GateFunction(Spec, ABC):
    """Maps the alphas of one link, (K,) for its K candidate operations, to gate values, (K,).

    Subclasses add ``function: Literal["name"] = "name"`` and their parameters.
    """

    initial: Number = 0.5
    """The gates' value at the start (of the gate, not of alpha)."""
    train_with: Literal["alphas", "weights"] = "alphas"
    """Which optimizer and which half of an alternation updates the alphas."""
    trainable: ClassVar[bool] = True
    draws: ClassVar[bool] = False
    """Whether it draws at random while training."""

    @abstractmethod
    def __call__(self, alpha: Tensor, *, training: bool = True) -> Tensor:
        """Gate values in the dtype of alpha; works elementwise over leading dimensions, candidates last."""

    @abstractmethod
    def inverse(self, gate: float, candidates: int) -> float:
        """The alpha at which each of the link's gates has this value."""

    def rounded(self, alpha: Tensor) -> Tensor:
        """The gates as what they converge to where that is 0 or 1: 1 where more than half, else 0."""
        gates = self(alpha, training=False).detach()
        return (gates > 0.5).to(gates.dtype)

    def at(self, progress: float) -> GateFunction:
        """The gate function of a training step, at a share of training; only those that are annealed change."""
        return self

    def project(self, alpha: Tensor) -> None:
        """Put alpha back into its domain, in place, after an optimizer step; nothing to do for most."""


class Penalty(Spec, ABC):
    """What drives the gates of one rule; subclasses add ``type: Literal["name"] = "name"``.

    With T steps of training the strength is 0 before ``ramp[0]`` T, grows linearly, and is ``strength`` from ``ramp[1]`` T on.
    """

    strength: Number = Field(default=1.0, ge=0)
    """Factor of the penalty in the loss, in full."""
    ramp: tuple[Share, Share] = (0.0, 0.0)
    """Shares of training between which the strength grows from 0."""
    of: Literal["gate", "contribution"] = "gate"
    """gate: g; contribution: g times the gain of the operation's weight, so that a growing weight can't undo a small gate."""

    @model_validator(mode="after")
    def _ordered(self) -> Penalty:
        if self.ramp[0] > self.ramp[1]:
            raise problem(f"ramp ends at {self.ramp[1]} before it starts at {self.ramp[0]}", "ramp: [START, END], shares of training")
        return self

    def strength_at(self, progress: float) -> float:
        """lambda(t) at a share of training."""
        start, end = self.ramp
        if progress >= end:
            return self.strength
        return 0.0 if progress <= start else self.strength * (progress - start) / (end - start)

    @abstractmethod
    def __call__(self, values: Sequence[Tensor], progress: float) -> Tensor:
        """The penalty of a rule: a scalar.

        Args:
            values: For each of the rule's links the (K,) gates, or with ``of: contribution`` the (K,) products of gate and gain.
            progress: Share of training, 0 to 1.
        """

    def shrink(self, alpha: Tensor, *, learning_rate: float, progress: float, links: int) -> None:
        """Change alpha in place after an optimizer step; only proximal penalties do."""
