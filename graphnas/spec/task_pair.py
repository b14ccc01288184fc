"""``task_pair``: the tasks, one of them primary, and their data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import InitErrorDetails

from graphnas import registry  # not its names: one is a field here, and a field's default hides it from the annotations
from graphnas.errors import suggest
from graphnas.schema import Keyed, Named, Number, PositiveNumber, Spec, Text, error_at, problem, refuse
from graphnas.spec.document import Document
from graphnas.spec.search_space import ROLES, TASK_NAME


class Normalization(Spec):
    """(x - mean) / std of each channel, of values in [0, 1]."""

    mean: tuple[Number, ...] = Field(min_length=1, examples=[[0.5, 0.5, 0.5]])
    """One a channel."""
    std: tuple[PositiveNumber, ...] = Field(min_length=1, examples=[[0.25, 0.25, 0.25]])
    """One a channel."""

    @model_validator(mode="after")
    def _as_many(self) -> Normalization:
        if len(self.mean) != len(self.std):
            refuse([error_at((), f"{len(self.mean)} means and {len(self.std)} deviations", "one of each a channel")])
        return self


def _normalization(value: Any) -> Any:
    if value in ("none", "imagenet", "backbone") or isinstance(value, Normalization):
        return value
    if isinstance(value, str):
        raise problem(f"unknown normalization {value!r}", suggest(value, ["backbone", "imagenet", "none"]))
    return Normalization.model_validate(value)


class InputSpec(Spec):
    """An input of the networks."""

    telling: ClassVar[str | None] = "key"
    key: Text = Field(examples=["img.png"])
    """The image's name within a sample: a member of a tar, a folder of a tree, a key of a dict."""
    normalize: Annotated[Literal["none", "imagenet", "backbone"] | Normalization, BeforeValidator(_normalization)] = "none"
    """imagenet; none (values in [0, 1]); {mean: [...], std: [...]}; or backbone: as the published weights of a search's networks expect."""


class TaskPairSpec(Document):
    """A primary task and its auxiliaries, with their data."""

    KIND: ClassVar[str] = "task_pair"
    kind: Literal["task_pair"] = "task_pair"
    """This kind of file."""
    primary: Text = Field(examples=["normals"])
    """The task whose network is kept; the others are auxiliaries."""
    sources: dict[Text, Annotated[Any, Named(registry.layouts, "layout")]] = Field(
        min_length=1, examples=[{"rooms": {"layout": "webdataset", "train": "data/training.tar", "test": "data/testing.tar"}}]
    )
    """Name -> data set; a source without a task's key has no labels for it."""
    inputs: dict[Text, InputSpec] = Field(min_length=1, examples=[{"image": {"key": "img.png", "normalize": "imagenet"}}])
    """Name -> input, by the names of the networks' inputs."""
    tasks: dict[Text, Annotated[Any, Named(registry.task_types, "type")]] = Field(
        min_length=1, examples=[{"segmentation": {"type": "semantic_segmentation", "key": "seg.png", "classes": 11}}]
    )
    """Name -> task: its labels, loss and metrics."""
    transforms: tuple[Annotated[Any, Keyed(registry.transforms)], ...] = Field(default=(), examples=[["horizontal_flip"]])
    """Augmentation of the training samples, image and labels together, in this order; none, if left out."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            refuse(_bad_names(cast(Mapping[str, Any], value)))
        return cast(Any, value)

    @model_validator(mode="after")
    def _consistent(self) -> TaskPairSpec:
        refuse([*self._wrong_primary(), *_wrong_transforms(self.transforms, self.tasks)])
        return self

    def _wrong_primary(self) -> Iterator[InitErrorDetails]:
        if self.primary not in self.tasks:
            yield error_at(("primary",), f"{self.primary!r} is no task", suggest(self.primary, self.tasks), self.primary)


def _wrong_transforms(transforms: Sequence[Any], tasks: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    """Transforms that would make labels wrong, and a last size that is none."""
    for number, step in enumerate(transforms):
        for name, task in tasks.items():
            refusal = None if step.change is None else task.why_not(step.change)
            if refusal is not None:
                yield error_at(("transforms", number), f"{step.name} can't be done to {name!r}: {refusal.reason}", refusal.fix)
    sizes = [(number, step) for number, step in enumerate(transforms) if step.sizes != "kept"]
    if sizes and sizes[-1][1].sizes == "varied":
        number, step = sizes[-1]
        yield error_at(("transforms", number), f"{step.name} leaves samples of several sizes", "random_crop: [HEIGHT, WIDTH] after it")


def _bad_names(tasks: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    for name in map(str, tasks):
        if name in ROLES:
            yield error_at((name,), f"{name!r} is a role, and no name of a task", "name the task after what it predicts", key=True)
        elif TASK_NAME.fullmatch(name) is None:
            yield error_at((name,), f"{name!r} is no name of a task", "letters, digits, - and _; a letter first", key=True)
