"""A ``torch.utils.data.Dataset`` of the user's own, given through the Python API: ``gn.search(spec, data={"rooms": dataset})``.

Its samples are dicts: key -> PIL image, array (H, W[, channels]) or tensor ([channels,] H, W), or a number, text or a list of them. A label
that a sample has not is missing in its dict, or ``None``. A label goes through its task's encoding like the content of a file.

Which labels a sample has must be known before training. By default every sample is read once, when the data are opened. Where that takes
too long, ``keys`` in the spec says them (a list: every sample has these; ``first``: those of the first sample), or the data set itself has
a method ``keys_of(index)`` that says them without reading. A sample that then lacks one is an error when it is read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, Protocol, cast

from pydantic import Field

from graphnas.data.base import Cut, Layout, Part, Records
from graphnas.errors import DataError, suggest
from graphnas.schema import Text

Keys = Literal["each", "first"] | tuple[str, ...]


class MapDataset(Protocol):
    """A map-style data set of torch: anything with a length and numbered samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class PythonData(Layout):
    """A data set that is given from Python, under the source's name."""

    layout: Literal["python"] = "python"
    validation: Cut = Cut()
    """Which samples choose: {fraction, group} of training, unless a data set is given for them."""
    keys: Literal["each", "first"] | tuple[Text, ...] = Field(default="each", examples=[["image", "depth"]])
    """Which keys a sample has: each is asked (read once, when the data are opened); those of the first; or a list, that all have."""

    @property
    def cut(self) -> Cut:
        return self.validation

    def has(self, part: Part) -> bool:
        return False  # nothing that a spec could name

    def check(self, part: Part) -> None:
        self.open(part)

    def open(self, part: Part) -> Records:
        raise DataError(f"{part} samples of this source are given from Python, and they are not", fix="see graphnas.data.python")


class DatasetRecords(Records):
    """The samples of a map-style data set.

    Args:
        name: What it is called in messages.
        dataset: The data set.
        keys: How it is known which keys a sample has.
    """

    def __init__(self, name: str, dataset: MapDataset, keys: Keys = "each") -> None:
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise DataError(f"{name}: a {type(dataset).__name__} has no length or no numbered samples", fix="a map-style Dataset")
        self._name = name
        self._dataset = dataset
        digits = len(str(max(len(dataset) - 1, 0)))
        self.ids = tuple(f"{index:0{digits}d}" for index in range(len(dataset)))
        self._keys = self._known(keys)

    def keys(self, index: int) -> Collection[str]:
        return self._keys[index if len(self._keys) > 1 else 0]

    def read(self, index: int, key: str) -> Any:
        value = self._sample(index).get(key)
        if value is None:
            raise DataError(f"{self._name}[{index}]: no {key!r}, which it was said to have", fix="keys: each")
        return value

    def field(self, index: int, name: str) -> Any:
        sample = self._sample(index)
        if sample.get(name) is None:
            raise DataError(f"{self._name}[{index}]: no field {name!r}", fix=suggest(name, sample))
        return sample[name]

    def file(self, index: int, key: str) -> str:
        return f"{self._name}[{index}][{key!r}]"

    def lacks(self, key: str) -> tuple[str, str]:
        return f"no sample of {self._name} has {key!r}", suggest(key, {key for keys in self._keys for key in keys})

    def _known(self, keys: Keys) -> tuple[frozenset[str], ...]:
        """The keys of each sample; one set, where all have the same."""
        count = len(self._dataset)
        asked = getattr(self._dataset, "keys_of", None)
        if callable(asked):
            return tuple(frozenset(cast("Collection[str]", asked(index))) for index in range(count))
        if isinstance(keys, tuple):
            return (frozenset(keys),)
        return tuple(self._present(index) for index in range(min(count, 1) if keys == "first" else count))

    def _present(self, index: int) -> frozenset[str]:
        return frozenset(key for key, value in self._sample(index).items() if value is not None)

    def _sample(self, index: int) -> Mapping[str, Any]:
        sample = self._dataset[index]
        if not isinstance(sample, Mapping):
            raise DataError(f"{self._name}[{index}]: a sample is a dict, got {type(sample).__name__}", fix='{"image": ..., "depth": ...}')
        return cast("Mapping[str, Any]", sample)
