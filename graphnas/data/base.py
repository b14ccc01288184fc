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


class Cut(Spec):
    """The samples that choose: a share of the training samples that is set apart."""

    fraction: Share | None = Field(default=None, gt=0, lt=1, examples=[0.2])
    """Share of the training samples to set apart (a fifth if nothing is said),"""
    group: Text | None = Field(default=None, examples=["map"])
    """samples with the same value of this field (of a sample's JSON, CSV row or dict) never on both sides."""

    @property
    def share(self) -> float:
        """The share of the training samples to set apart."""
        return DEFAULT_FRACTION if self.fraction is None else self.fraction


class Validation(Cut):
    """The samples that choose: other files, or a share of the training samples that is set apart."""

    telling: ClassVar[str | None] = "path"

    path: FilePath | None = Field(default=None, examples=["data/validation.tar"])
    """Where the validation samples lie, as for train; instead of fraction and group."""

    @model_validator(mode="after")
    def _one(self) -> Validation:
        if self.path is not None and (self.fraction is not None or self.group is not None):
            raise problem("validation is other files or a share of the training samples, not both", "leave out path, or fraction and group")
        return self


class Records(ABC):
    """The samples of one split of one source."""

    ids: Sequence[str]
    """Names of the samples, unique, in a fixed order."""
    together: int = 1
    """How many shards samples are drawn from at a time, where they are drawn by shards."""

    @abstractmethod
    def keys(self, index: int) -> Collection[str]:
        """What the sample has."""

    @abstractmethod
    def read(self, index: int, key: str) -> Any:
        """One value of a sample: a PIL image, an array or tensor of numbers; or a field: a number, text, or a list of them.

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

    def stamp(self, index: int, key: str) -> str | None:
        """What changes when the stored value does: path, size and time of its file. ``None`` if there is no such thing."""
        return None

    def shard(self, index: int) -> str | None:
        """The piece of the data that a sample lies in, where samples of one are to be drawn near each other; ``None`` where not."""
        return None


class Layout(Spec, ABC):
    """How a source's samples lie. Subclasses add ``layout: Literal["name"] = "name"`` and where the samples are."""

    on_error: Literal["error", "skip"] = "error"
    """What a sample that can't be read or has a wrong label is: an error, or left out, its name logged (at most 1 % of a split)."""

    @property
    @abstractmethod
    def cut(self) -> Cut:
        """Which share of the training samples to set apart, unless validation samples are named."""

    @property
    def group(self) -> str | None:
        """The field that validation groups by; a layout may know what its samples belong together by where the spec says nothing."""
        return self.cut.group

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

    validation: Validation = Validation()
    """Which samples choose: {fraction, group} of training, or a path."""
    train: FilePath = Field(examples=["data/training.tar"])
    """Samples to learn from."""
    test: FilePath | None = Field(default=None, examples=["data/testing.tar"])
    """Samples that are touched once, at the end."""

    @property
    def cut(self) -> Cut:
        return self.validation

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


class NamedSplit(Cut):
    """The samples that choose: a split of the data set, or a share of the training samples that is set apart."""

    telling: ClassVar[str | None] = "split"

    split: Text | None = Field(default=None, examples=["val"])
    """The name of a split of the data set; instead of fraction and group."""

    @model_validator(mode="after")
    def _one(self) -> NamedSplit:
        if self.split is not None and (self.fraction is not None or self.group is not None):
            raise problem("validation is a split or a share of the training samples, not both", "leave out split, or fraction and group")
        return self


class SplitLayout(Layout):
    """A layout of a data set whose splits have names. Subclasses say where it lies."""

    train: Text = Field(default="train", examples=["train"])
    """The split to learn from."""
    test: Text | None = Field(default="test", examples=["test"])
    """The split that is touched once, at the end; null for none."""
    validation: NamedSplit = NamedSplit()
    """Which samples choose: {fraction, group} of training, or a split."""

    @property
    def cut(self) -> Cut:
        return self.validation

    def split(self, part: Part) -> str | None:
        """The data set's own name of a part."""
        return {"train": self.train, "validation": self.validation.split, "test": self.test}[part]

    def has(self, part: Part) -> bool:
        return self.split(part) is not None

    def check(self, part: Part) -> None:
        self.find_split(self._named(part))

    def open(self, part: Part) -> Records:
        return self.open_split(self._named(part))

    @abstractmethod
    def find_split(self, split: str) -> None:
        """See that a split is there.

        Raises:
            DataError: It is not.
        """

    @abstractmethod
    def open_split(self, split: str) -> Records:
        """The samples of a split."""

    def _named(self, part: Part) -> str:
        split = self.split(part)
        if split is None:
            raise DataError(f"no split for {part} is given", fix=f"{part}: NAME")
        return split
