"""``task_pair``: the tasks, one of them primary, and their data."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from graphnas import registry  # not its names: one is a field here, and a field's default hides it from the annotations
from graphnas.errors import suggest
from graphnas.schema import Keyed, Named, Number, PositiveNumber, Spec, Text, gathered, problem_at
from graphnas.spec.document import Document
from graphnas.spec.search_space import ROLES

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class Normalization(Spec):
    """(x - mean) / std of each channel, of values in [0, 1]."""

    mean: tuple[Number, ...] = Field(min_length=1)
    """One a channel."""
    std: tuple[PositiveNumber, ...] = Field(min_length=1)
    """One a channel."""


def _normalization(value: Any) -> Any:
    if value in ("none", "imagenet") or isinstance(value, Normalization):
        return value
    if isinstance(value, str):
        raise problem_at((), f"unknown normalization {value!r}", suggest(value, ["imagenet", "none"]), value)
    return Normalization.model_validate(value)


class InputSpec(Spec):
    """An input of the networks."""

    telling: ClassVar[str] = "key"
    key: Text
    """Which part of a sample."""
    normalize: Annotated[Literal["none", "imagenet"] | Normalization, BeforeValidator(_normalization)] = "none"
    """imagenet, none (values in [0, 1]), or {mean: [...], std: [...]}."""


class TaskPairSpec(Document):
    """A primary task and its auxiliaries, with their data."""

    KIND: ClassVar[str] = "task_pair"
    kind: Literal["task_pair"] = "task_pair"
    primary: Text
    """The task whose network is kept; the others are auxiliaries."""
    sources: dict[Text, Annotated[Spec, Named(registry.layouts, "layout")]] = Field(min_length=1)
    """Name -> data set; a source without a task's key has no labels for it."""
    inputs: dict[Text, InputSpec] = Field(min_length=1)
    """Name -> input, by the names of the networks' inputs."""
    tasks: dict[Text, Annotated[Spec, Named(registry.task_types, "type")]] = Field(min_length=1)
    """Name -> task."""
    transforms: tuple[Annotated[Spec, Keyed(registry.transforms)], ...] = ()
    """Augmentation of the training samples, image and labels together, in this order."""

    @field_validator("tasks")
    @classmethod
    def _names(cls, value: dict[str, Spec]) -> dict[str, Spec]:
        def check(name: str) -> None:
            if name in ROLES:
                raise problem_at((), f"{name!r} is a role, and no name of a task", "name the task after what it predicts")
            if _NAME.fullmatch(name) is None:
                raise problem_at((), f"{name!r} is no name: letters, digits, - and _", "start with a letter")

        gathered({name: (lambda name=name: check(name)) for name in value})
        return value

    @model_validator(mode="after")
    def _primary_is_a_task(self) -> TaskPairSpec:
        if self.primary not in self.tasks:
            raise problem_at(("primary",), f"{self.primary!r} is no task", suggest(self.primary, self.tasks), self.primary)
        return self
