"""Optimizers and learning-rate schedules of a search, by torch's names."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from graphnas.errors import suggest
from graphnas.schema import PositiveNumber, Share, Spec, Text, problem_at


class Schedule(Spec):
    """The learning rate over training, as a share of ``lr``."""

    telling: ClassVar[str] = "type"
    type: Literal["constant", "cosine", "poly", "linear", "step"] = "constant"
    """Form of the curve; poly is (1 - t) ** power."""
    power: PositiveNumber = 0.9
    """Of poly."""
    final: Share = 0.0
    """Share of ``lr`` at the end (cosine, poly, linear)."""
    warmup: Share = 0.0
    """Share of training over which the rate grows linearly from 0."""
    milestones: tuple[Share, ...] = ()
    """Shares of training at which step multiplies the rate by ``gamma``."""
    gamma: PositiveNumber = 0.1
    """Of step."""


class Optimizer(Spec):
    """An optimizer of ``torch.optim``; further fields are its keyword arguments."""

    model_config = ConfigDict(extra="allow")

    type: Text = Field(examples=["adamw", "sgd"])
    """Name of a class of torch.optim in lower case."""
    lr: PositiveNumber
    """Learning rate at the start, after the warm-up."""
    schedule: Schedule = Schedule()
    """How the rate changes over training."""
    groups: dict[Text, dict[Text, Any]] = Field(default={}, examples=[{"**.head.**": {"lr": 1e-3}}])
    """Glob of parameter names -> what differs for them."""

    @model_validator(mode="after")
    def _torch_knows_it(self) -> Optimizer:
        known = optimizer_classes()
        if self.type not in known:
            raise problem_at(("type",), f"unknown optimizer {self.type!r}", suggest(self.type, known), self.type)
        taken = [name for name in inspect.signature(known[self.type]).parameters if name not in ("params", "lr")]
        for path, fields in (((), self.model_extra or {}), *((("groups", glob), fields) for glob, fields in self.groups.items())):
            for name, value in fields.items():
                if name not in taken and not (path and name == "lr"):
                    raise problem_at((*path, name), f"unknown field {name!r}", suggest(name, [*taken, *Optimizer.model_fields]), value)
                if isinstance(value, str):
                    raise problem_at((*path, name), f"expected a number, got text {value!r}", value=value)
        return self


def optimizer_classes() -> dict[str, Any]:
    """Name in lower case -> class of ``torch.optim``."""
    import torch

    return {
        name.lower(): value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer and name != "LBFGS"
    }
