"""What a layout is: how samples and their labels lie on disk (or anywhere else), one file each.

A layout opens a split as ``Records``: samples in a fixed order, each with the keys that it has. Nothing is decoded before it is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, model_validator

from graphnas.errors import DataError
from graphnas.schema import FilePath, Share, Spec, Text, problem

Part = Literal["train", "validation", "test"]
"""A split as a source's spec calls it."""
DEFAULT_FRACTION = 0.2

Found = TypeVar("Found")


class Validation(Spec):
    """The samples that choose: other files, or a share of the training samples that is set apart."""

    telling: ClassVar[str | None] = "path"

    path: FilePath | None = Field(default=None, examples=["data/validation.tar"])
    """Where the validation samples lie, as for train; or"""
    fraction: Share | None = Field(default=None, gt=0, lt=1, examples=[0.2])
    """share of the training samples to set apart (a fifth if neither is said),"""
    group: Text | None = Field(default=None, examples=["map"])
    """samples with the same value of this field (of a sample's JSON, or of its dict) never on both sides."""

    @model_validator(mode="after")
    def _one(self) -> Validation:
        if self.path is not None and (self.fraction is not None or self.group is not None):
            raise problem("validation is other files or a share of the training samples, not both", "leave out path, or fraction and group")
        return self

    @property
    def share(self) -> float:
        """The share of the training samples to set apart."""
        return DEFAULT_FRACTION if self.fraction is None else self.fraction


class Records(ABC):
    """The samples of one split of one source."""

    ids: Sequence[str]
    """Names of the samples, unique, in a fixed order."""

    @abstractmethod
    def keys(self, index: int) -> Collection[str]:
        """What the sample has."""

    @abstractmethod
    def read(self, index: int, key: str) -> Any:
        """One value of a sample: a PIL image, or an array or tensor of numbers.

        Raises:
            DataError: Unreadable; names the file.
        """

    @abstractmethod
    def field(self, index: int, name: str) -> Any:
        """A fact about the sample that groups it with others.

        Raises:
            DataError: The sample has no such field.
        """

    @abstractmethod
    def file(self, index: int, key: str) -> str:
        """What a value is called in messages: its file, and its place in there."""

    @abstractmethod
    def lacks(self, key: str) -> tuple[str, str]:
        """What to say if no sample has this key: what is wrong, and the fix."""


class Layout(Spec, ABC):
    """How a source's samples lie. Subclasses add ``layout: Literal["name"] = "name"`` and where the samples are."""

    validation: Validation = Validation()
    """Which samples choose: {fraction, group} of training, or a path."""

    @abstractmethod
    def has(self, part: Part) -> bool:
        """Whether the spec names samples for this split (validation that is cut from training is not named)."""

    @abstractmethod
    def check(self, part: Part) -> None:
        """See that a split that is named is there, without reading it.

        Raises:
            DataError: It is not.
        """

    @abstractmethod
    def open(self, part: Part) -> Records:
        """The samples of a split that is named.

        Raises:
            DataError: Missing or unreadable.
        """


class FileLayout(Layout):
    """A layout of files: a path for each split."""

    train: FilePath = Field(examples=["data/training.tar"])
    """Samples to learn from."""
    test: FilePath | None = Field(default=None, examples=["data/testing.tar"])
    """Samples that are touched once, at the end."""

    def path(self, part: Part) -> str | None:
        """Where a split lies."""
        return {"train": self.train, "validation": self.validation.path, "test": self.test}[part]

    def has(self, part: Part) -> bool:
        return self.path(part) is not None

    def check(self, part: Part) -> None:
        self.find(self._named(part))

    def open(self, part: Part) -> Records:
        return self.open_path(self._named(part))

    @abstractmethod
    def find(self, path: str) -> Sequence[str]:
        """The files or folders that a path leads to.

        Raises:
            DataError: There is none.
        """

    @abstractmethod
    def open_path(self, path: str) -> Records:
        """The samples there."""

    def _named(self, part: Part) -> str:
        path = self.path(part)
        if path is None:
            raise DataError(f"no path for {part} is given", fix=f"{part}: PATH")
        return path
