"""Optimizers and learning-rate schedules of a search, by torch's names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal, cast

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import InitErrorDetails

from graphnas.errors import suggest
from graphnas.schema import PositiveNumber, Share, Spec, Text, described, error_at, refuse
from graphnas.spec.place import Path_


class Schedule(Spec):
    """The learning rate over training, as a share of ``lr``."""

    telling: ClassVar[str | None] = "type"
    type: Literal["constant", "cosine", "poly", "linear", "step"] = "constant"
    """Form of the curve; poly is (1 - t) ** power."""
    power: PositiveNumber = 0.9
    """Of poly."""
    final: Share = 0.0
    """Share of ``lr`` at the end (cosine, poly, linear)."""
    warmup: Share = 0.0
    """Share of training over which the rate grows linearly from 0."""
    milestones: tuple[Share, ...] = Field(default=(), examples=[[0.5, 0.75]])
    """Shares of training at which step multiplies the rate by ``gamma``."""
    gamma: PositiveNumber = 0.1
    """Of step."""

    @model_validator(mode="after")
    def _steps(self) -> Schedule:
        if self.type == "step" and not self.milestones:
            refuse([error_at((), "step has no milestones, so the rate would never change", "milestones: [0.5, 0.75]")])
        return self


class Optimizer(Spec):
    """An optimizer of ``torch.optim``; further fields are its keyword arguments."""

    model_config = ConfigDict(extra="allow")

    type: Text = Field(examples=["adamw", "sgd"])
    """Name of a class of torch.optim in lower case."""
    lr: PositiveNumber = Field(examples=[3e-3])
    """Learning rate at the start, after the warm-up."""
    schedule: Schedule = Field(default=Schedule(), examples=["cosine", {"type": "poly", "power": 0.9}])
    """How the rate changes over training; it does not, if left out."""
    groups: dict[Text, dict[Text, Any]] = Field(default={}, examples=[{"**.head.**": {"lr": 1e-3}}])
    """Glob of parameter names -> the keyword arguments that differ for them; the first glob that matches counts."""

    @model_validator(mode="before")
    @classmethod
    def _tuples(cls, value: Any) -> Any:
        """Torch's arguments have tuples where files have lists."""
        if not isinstance(value, Mapping):
            return value
        fields = {name: _tuple(part) for name, part in cast(Mapping[str, Any], value).items()}
        if isinstance(groups := fields.get("groups"), Mapping):
            groups = cast(Mapping[str, Any], groups)
            fields["groups"] = {glob: _tuple_fields(group) for glob, group in groups.items()}
        return fields

    @model_validator(mode="after")
    def _torch_takes_it(self) -> Optimizer:
        known = optimizer_classes()
        if self.type not in known:
            refuse([error_at(("type",), f"unknown optimizer {self.type!r}", suggest(self.type, known), self.type)])
        own = dict(self.model_extra or {})
        refuse([*_wrong(known[self.type], own, (), self.lr), *(e for glob in self.groups for e in self._wrong_group(glob, own))])
        return self

    def _wrong_group(self, glob: str, own: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        fields = dict(self.groups[glob])
        rate = fields.pop("lr", self.lr)
        if not _is_number(rate) or rate < 0:
            yield error_at(("groups", glob, "lr"), f"expected a number of 0 or more, got {described(rate)}", "lr: 1e-3", rate)
            rate = self.lr
        yield from _wrong(optimizer_classes()[self.type], fields, ("groups", glob), rate, own)


def _wrong(
    cls: type, fields: Mapping[str, Any], path: Path_, rate: float, others: Mapping[str, Any] | None = None
) -> Iterator[InitErrorDetails]:
    """Arguments that an optimizer does not have or does not take, tried on a parameter."""
    import torch

    arguments = {name: found.default for name, found in inspect.signature(cls).parameters.items() if name not in ("params", "lr")}
    fine = True
    for name, value in fields.items():
        if name not in arguments:
            fix = suggest(name, [*arguments, "lr", *(() if path else ("schedule", "groups"))])
            yield error_at((*path, name), f"unknown field {name!r}", fix, value, key=True)
            fine = False
        elif (expected := _expected(arguments[name], value)) is not None:
            yield error_at((*path, name), f"expected {expected}, got {described(value)}", value=value)
            fine = False
    if fine:
        try:
            cls([torch.zeros(1, 1, requires_grad=True)], lr=rate, **{**(others or {}), **fields})
        except (ValueError, TypeError, RuntimeError) as error:
            yield error_at(path, f"torch refuses these: {str(error).strip().splitlines()[0]}")


def _expected(default: Any, value: Any) -> str | None:
    """What an argument with this default takes, if not the value."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, (int, float)):
        return None if _is_number(value) else "a number"
    if isinstance(default, tuple):
        numbers = isinstance(value, tuple) and all(_is_number(part) for part in cast(tuple[Any, ...], value))
        length = len(cast(tuple[Any, ...], default))
        return None if numbers and len(cast(tuple[Any, ...], value)) == length else f"a list of {length} numbers"
    return "a plain value" if isinstance(value, Mapping) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _tuple(value: Any) -> Any:
    return tuple(cast(list[Any], value)) if isinstance(value, list) else value


def _tuple_fields(group: Any) -> Any:
    return {name: _tuple(part) for name, part in cast(Mapping[str, Any], group).items()} if isinstance(group, Mapping) else group


@lru_cache(maxsize=1)
def optimizer_classes() -> Mapping[str, type]:
    """Name in lower case -> class of ``torch.optim``, of those that need no closure and take dense gradients."""
    import torch

    return {
        name.lower(): value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type)
        and issubclass(value, torch.optim.Optimizer)
        and value is not torch.optim.Optimizer
        and name not in ("LBFGS", "SparseAdam")
    }
