"""A ``torch.utils.data.Dataset`` of the user's own, given through the Python API: ``gn.search(spec, data={"rooms": dataset})``.

Its samples are dicts: key -> PIL image, array (H, W[, channels]) or tensor ([channels,] H, W). A label that a sample has not is missing in
its dict, or ``None``. A label goes through its task's encoding like the content of a file. Every sample is looked at once when the data are
opened, to learn which labels it has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, Protocol, cast

from graphnas.data.base import Layout, Part, Records
from graphnas.errors import DataError, suggest


class MapDataset(Protocol):
    """A map-style data set of torch: anything with a length and numbered samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class PythonData(Layout):
    """A data set that is given from Python, under the source's name."""

    layout: Literal["python"] = "python"

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
    """

    def __init__(self, name: str, dataset: MapDataset) -> None:
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise DataError(f"{name}: a {type(dataset).__name__} has no length or no numbered samples", fix="a map-style Dataset")
        self._name = name
        self._dataset = dataset
        digits = len(str(max(len(dataset) - 1, 0)))
        self.ids = tuple(f"{index:0{digits}d}" for index in range(len(dataset)))
        self._keys = tuple(
            frozenset(key for key, value in self._sample(index).items() if value is not None) for index in range(len(dataset))
        )

    def keys(self, index: int) -> Collection[str]:
        return self._keys[index]

    def read(self, index: int, key: str) -> Any:
        return self._sample(index)[key]

    def field(self, index: int, name: str) -> Any:
        if name not in self._keys[index]:
            raise DataError(f"{self._name}[{index}]: no field {name!r}", fix=suggest(name, self._keys[index]))
        return self._sample(index)[name]

    def file(self, index: int, key: str) -> str:
        return f"{self._name}[{index}][{key!r}]"

    def lacks(self, key: str) -> tuple[str, str]:
        return f"no sample of {self._name} has {key!r}", suggest(key, {key for keys in self._keys for key in keys})

    def _sample(self, index: int) -> Mapping[str, Any]:
        sample = self._dataset[index]
        if not isinstance(sample, Mapping):
            raise DataError(f"{self._name}[{index}]: a sample is a dict, got {type(sample).__name__}", fix='{"image": ..., "depth": ...}')
        return cast("Mapping[str, Any]", sample)
