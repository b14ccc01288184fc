"""The sources of a task pair, opened: which samples there are, and which labels each has. What is wrong is gathered, to be said at once."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from graphnas.data.base import FileLayout, Layout, Part, Records
from graphnas.data.python import DatasetRecords, MapDataset, PythonData
from graphnas.data.samples import Item
from graphnas.errors import DataError, Problem, suggest
from graphnas.spec import TaskPairSpec
from graphnas.tasks.base import TaskType

Given = MapDataset | Mapping[str, MapDataset]
"""Samples to learn from, or data sets under ``train``, ``validation`` and ``test``."""
PARTS: tuple[Part, ...] = ("train", "validation", "test")


class Sources:
    """The records of every source.

    Args:
        task_pair: Names and layouts.
        tasks: The tasks whose labels are wanted.
        datasets: Source -> what takes the place of its files.
    Raises:
        DataError: A data set is given for a source that is not there.
    """

    def __init__(self, task_pair: TaskPairSpec, tasks: Mapping[str, TaskType], datasets: Mapping[str, Given]) -> None:
        self._task_pair = task_pair
        self._tasks = tasks
        self.given = _by_part(task_pair, datasets)
        self.records: dict[tuple[str, Part], Records] = {}
        self.problems: list[Problem] = []

    def refuse(self) -> None:
        """Raise what was gathered, if anything was."""
        if self.problems:
            raise DataError(dict.fromkeys(self.problems))  # once, where two parts are the same files

    @contextmanager
    def gathering(self, *place: str) -> Generator[None]:
        """Gather what goes wrong inside, at a field of the task pair."""
        try:
            yield
        except DataError as error:
            self.problems += [p if p.where or p.path else self._task_pair.problem(p.message, *place, fix=p.fix) for p in error.problems]

    def layout(self, source: str) -> Layout:
        """What the spec says of a source."""
        return cast("Layout", self._task_pair.sources[source])

    def has(self, source: str, part: Part) -> bool:
        """Whether a source has samples of this part of its own."""
        return part in self.given[source] if source in self.given else self.layout(source).has(part)

    def open(self, part: Part) -> None:
        """Open a part of every source that has it; every source has ``train``."""
        for source in self._task_pair.sources:
            if (source, part) not in self.records and (part == "train" or self.has(source, part)):
                with self.gathering(*self._field(source, part)):
                    self.records[source, part] = self._opened(source, part)

    def open_files(self, part: Part) -> None:
        """Open a part of the sources that are no data sets given from Python, whose samples may have to be read for that."""
        for source in self._task_pair.sources:
            if source not in self.given and self.has(source, part):
                with self.gathering(*self._field(source, part)):
                    self.records[source, part] = self._opened(source, part)

    def items(self, part: Part) -> dict[str, list[Item]]:
        """Source -> its samples of a part that is open, each with the labels that it has."""
        keys = {task: kind.key for task, kind in self._tasks.items()}
        return {
            source: [
                Item(source, part, index, name, frozenset(task for task, key in keys.items() if key in records.keys(index)))
                for index, name in enumerate(records.ids)
            ]
            for (source, opened), records in self.records.items()
            if opened == part
        }

    def check_keys(self, part: Part) -> None:
        """See that samples have their inputs, and that every wanted label is somewhere (in training) or wherever it has to be."""
        opened = {source: records for (source, which), records in self.records.items() if which == part}
        matched = {source: self._check_matches(records) for source, records in opened.items()}
        for name, spec in self._task_pair.inputs.items():
            for source, records in opened.items():
                if matched[source]:
                    self._check_all(source, records, spec.key, "inputs", name, "key")
        for name, task in self._tasks.items():
            having = {source: records for source, records in opened.items() if _first(records, task.key, there=True) is not None}
            if part == "train" and opened and not having:
                said = [records.lacks(task.key) for records in opened.values()]
                fix = next((fix for _, fix in said if fix.startswith("did you mean")), said[0][1])
                self.problems.append(self._task_pair.problem("; ".join(message for message, _ in said), "tasks", name, "key", fix=fix))
            if task.missing == "error":
                for source, records in having.items():
                    self._check_all(source, records, task.key, "tasks", name, "missing")

    def _check_matches(self, records: Records) -> bool:
        """See that a label is not of other samples than the inputs, all of them: files that are called differently."""
        inputs = [spec.key for spec in self._task_pair.inputs.values()]
        seen = _first(records, inputs[0], there=True)
        for name, task in self._tasks.items() if seen is not None else ():
            having = [index for index in range(len(records.ids)) if task.key in records.keys(index)]
            if having and not any(key in records.keys(index) for index in having for key in inputs):
                message = f"no label {task.key!r} belongs to an input {inputs[0]!r}: they are called {records.ids[having[0]]!r} and so on, "
                message += f"the inputs {records.ids[seen or 0]!r} and so on"
                self.problems.append(self._task_pair.problem(message, "tasks", name, "key", fix="call both alike"))
                return False
        return True

    def _check_all(self, source: str, records: Records, key: str, *place: str) -> None:
        """Every sample of these records has this key."""
        first = _first(records, key, there=False)
        if first is None:
            return
        without = sum(key not in records.keys(index) for index in range(len(records.ids)))
        if without == len(records.ids):
            message, fix = records.lacks(key)
        else:
            message = f"{source}/{records.ids[first]} has no {key!r}, nor have {without - 1} other samples"
            message = message if without > 1 else f"{source}/{records.ids[first]} has no {key!r}"
            fix = "missing: skip" if place[-1] == "missing" else "add it, or remove the sample"
        self.problems.append(self._task_pair.problem(message, *place, fix=fix))

    def _opened(self, source: str, part: Part) -> Records:
        if source not in self.given:
            if not self.layout(source).has(part):
                raise DataError(f"{source!r} is given from Python, and it is not", fix=f'gn.search(spec, data={{"{source}": dataset}})')
            records = self.layout(source).open(part)
        elif part in self.given[source]:
            layout = self.layout(source)
            keys = layout.keys if isinstance(layout, PythonData) else "each"
            records = DatasetRecords(source if part == "train" else f"{source} ({part})", self.given[source][part], keys)
        else:
            raise DataError(f"no samples to learn from are given for {source!r}", fix=f'data={{"{source}": {{"train": dataset}}}}')
        if not records.ids:
            layout = self.layout(source)
            place = layout.path(part) if isinstance(layout, FileLayout) and source not in self.given else None
            for_part = "" if part == "train" else f" for {part}"
            what = f"{place} holds no samples" if place is not None else f"{source!r} has no samples{for_part}"
            raise DataError(what, fix="add some, or leave the source out" if part == "train" else f"add some, or leave {part} out")
        return records

    def _field(self, source: str, part: Part) -> tuple[str, ...]:
        layout = self.layout(source)
        if source in self.given or part not in type(layout).model_fields:
            return ("sources", source)
        return ("sources", source, part)


def _by_part(task_pair: TaskPairSpec, datasets: Mapping[str, Given]) -> dict[str, Mapping[str, MapDataset]]:
    given: dict[str, Mapping[str, MapDataset]] = {}
    problems: list[Problem] = []
    for name, dataset in datasets.items():
        parts: Mapping[str, Any] = cast("Mapping[str, Any]", dataset) if isinstance(dataset, Mapping) else {"train": dataset}
        if name not in task_pair.sources:
            problems.append(task_pair.problem(f"no source is called {name!r}", "sources", fix=suggest(name, task_pair.sources)))
        problems += [
            task_pair.problem(f"a source has no part {part!r}", "sources", name, fix=suggest(part, PARTS))
            for part in parts
            if part not in PARTS
        ]
        given[name] = parts
    if problems:
        raise DataError(problems)
    return given


def _first(records: Records, key: str, *, there: bool) -> int | None:
    """The first sample that has the key, or the first that has it not."""
    indices: Sequence[int] = range(len(records.ids))
    return next((index for index in indices if (key in records.keys(index)) == there), None)
