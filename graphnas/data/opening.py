"""A task pair -> ``Data``: opens the sources, cuts validation, draws labeled subsets, and says what is wrong before any training."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import cast

from graphnas.data.batches import Normalization
from graphnas.data.cache import DiskCache, Loading, code_of, default_folder
from graphnas.data.dataset import Data
from graphnas.data.preprocessing import normalization
from graphnas.data.samples import CACHE_BYTES, Item, Samples
from graphnas.data.skipping import Skipped, Skips
from graphnas.data.sources import PARTS, Given, Sources
from graphnas.data.splits import cut, shuffled
from graphnas.data.transforms import Transform
from graphnas.errors import DataError
from graphnas.schema import Spec
from graphnas.spec import TaskPairSpec
from graphnas.tasks.base import TaskType


def open_data(
    task_pair: TaskPairSpec,
    *,
    seed: int,
    tasks: Sequence[str] | None = None,
    datasets: Mapping[str, Given] | None = None,
    loading: Loading | None = None,
) -> Data:
    """Open the data of a task pair.

    Args:
        task_pair: Sources, inputs, tasks and transforms.
        seed: Of the run: decides which samples are validation, the order of every epoch, the random changes, and ``labeled: {seed: run}``.
        tasks: The tasks whose labels are wanted, the primary among them; all, if left out. What is cut and drawn does not depend on it.
        datasets: Source -> a data set that takes the place of its files.
        loading: How samples are loaded; no result depends on it.
    Raises:
        DataError: All that is wrong with sources and labels, as far as it can be seen without reading every sample.
    """
    loading = loading or Loading()
    wanted = {name: cast("TaskType", task_pair.tasks[name]) for name in (task_pair.tasks if tasks is None else tasks)}
    sources = Sources(task_pair, wanted, datasets or {})
    normalizations = _normalizations(task_pair, sources)
    training, validation, notes = _splits(task_pair, sources, seed)
    training = _labeled(task_pair, sources, wanted, training, seed, notes)
    samples = Samples(
        records=sources.records,
        inputs={name: spec.key for name, spec in task_pair.inputs.items()},
        tasks=wanted,
        transforms=cast("Sequence[Transform]", task_pair.transforms),
        problem=task_pair.problem,
        seed=seed,
        cache_bytes={"auto": CACHE_BYTES, "memory": sys.maxsize, "disk": 0, "none": 0}[loading.cache],
        store=_store(task_pair, wanted, sources, loading) if loading.cache == "disk" else None,
        lenient=frozenset(source for source in task_pair.sources if sources.layout(source).on_error == "skip"),
    )
    skips = Skips(lambda source, part: len(sources.records[source, part].ids), task_pair.problem)
    _try_one(samples, skips, [item for item in training if task_pair.primary in item.tasks])
    return Data(
        primary=task_pair.primary,
        samples=samples,
        normalizations=normalizations,
        training=training,
        validation=validation,
        test=lambda: _test(sources),
        notes=notes,
        skips=skips,
        pin_memory=loading.pin_memory,
    )


def _try_one(samples: Samples, skips: Skips, items: Sequence[Item]) -> None:
    """Make the first sample that can be used: a wrong encoding or a crop that is too large shows now, not in the middle of a run.

    Raises:
        DataError: It can't be made, or more than may be left out can't.
    """
    for item in items:
        try:
            samples.for_training(item, 0, 0)
        except DataError as error:
            if item.source not in samples.lenient:
                raise
            skips.add([Skipped(item.id, item.source, item.part, error.problems[0].message)])
        else:
            return


def _store(task_pair: TaskPairSpec, tasks: Mapping[str, TaskType], sources: Sources, loading: Loading) -> DiskCache:
    """The cache on disk, by all that its content depends on beside the files."""
    steps = [*takewhile(lambda step: not step.random, cast("Sequence[Transform]", task_pair.transforms))]
    specs: list[Spec] = [*tasks.values(), *steps, *(sources.layout(source) for source in task_pair.sources)]
    modules = frozenset(type(spec).__module__ for spec in specs)
    inputs = [f"{name}={spec.key}" for name, spec in task_pair.inputs.items()]
    said = [f"{name}={spec.model_dump_json(exclude={'labeled', 'missing'})}" for name, spec in tasks.items()]
    recipe = [code_of(modules), *inputs, *said, *(step.model_dump_json() for step in steps)]
    apart = {"train", "validation", "test", "on_error"}
    recipe += [sources.layout(source).model_dump_json(exclude=apart) for source in task_pair.sources]  # such as Cityscapes' classes
    return DiskCache(loading.cache_folder or default_folder(), recipe)


def _normalizations(task_pair: TaskPairSpec, sources: Sources) -> dict[str, Normalization]:
    found: dict[str, Normalization] = {}
    for name, spec in task_pair.inputs.items():
        with sources.gathering("inputs", name, "normalize"):
            found[name] = normalization(spec.normalize)
    return found


def _splits(task_pair: TaskPairSpec, sources: Sources, seed: int) -> tuple[list[Item], list[Item], list[str]]:
    """The samples to learn from and those that choose, with all labels that they have; and what to say about it.

    Raises:
        DataError: Files or labels are missing, or a split has nothing for the primary task.
    """
    sources.open("train")
    sources.open("validation")
    sources.open_files("test")  # an index of it: none of its samples is read
    sources.refuse()
    for part in PARTS:
        sources.check_keys(part)
    sources.refuse()
    chosen = sources.items("validation")
    training: list[Item] = []
    validation: list[Item] = []
    notes: list[str] = []
    for source, items in sources.items("train").items():
        if source in chosen:
            training += items
            validation += chosen[source]
            notes.append(f"{source}: validation samples of its own")
        else:
            with sources.gathering("sources", source, "validation"):
                left, apart, note = _cut(sources, source, items, seed)
                training += left
                validation += apart
                notes.append(note)
    sources.refuse()
    _check_primary(task_pair, training, validation)
    return training, validation, notes


def _cut(sources: Sources, source: str, items: Sequence[Item], seed: int) -> tuple[list[Item], list[Item], str]:
    """Set apart a share of a source's training samples.

    Raises:
        DataError: A sample has no field to group by, or nothing would be left to learn from.
    """
    layout, records = sources.layout(source), sources.records[source, "train"]
    group = layout.group if source not in sources.given or layout.cut.group is not None else None
    groups = [item.name if group is None else str(records.field(item.index, group)) for item in items]
    apart = cut(groups, layout.cut.share, "validation", seed, source)
    chosen = [item for item, taken in zip(items, apart, strict=True) if taken]
    left = [item for item, taken in zip(items, apart, strict=True) if not taken]
    if not left:
        what = f"all have the same {group!r}" if group is not None else "there are no others"
        fix = "validation: PATH of other samples, or more training samples"
        raise DataError(f"validation would take all {len(items)} training samples of {source!r}: {what}", fix=fix)
    note = f"{source}: {len(chosen)} of {len(items)} training samples are set apart for validation"
    if group is not None:
        taken_groups = len({group for group, taken in zip(groups, apart, strict=True) if taken})
        note += f", {taken_groups} of {len(set(groups))} groups by {group!r}"
    return left, chosen, f"{note} (seed {seed})"


def _check_primary(task_pair: TaskPairSpec, training: Iterable[Item], validation: Iterable[Item]) -> None:
    """Both splits have labels of the primary.

    Raises:
        DataError: One has none.
    """
    primary = task_pair.primary
    for split, items, fix in (
        ("training", training, "another seed, a smaller fraction of validation, or more labels"),
        ("validation", validation, "validation: {fraction: ...} of a larger fraction, or a PATH of samples with this label"),
    ):
        if not any(primary in item.tasks for item in items):
            message = f"no {split} sample carries a label of the primary task {primary!r}"
            raise DataError(task_pair.problem(message, "tasks", primary, "key", fix=fix))


def _labeled(
    task_pair: TaskPairSpec, sources: Sources, tasks: Mapping[str, TaskType], training: Sequence[Item], seed: int, notes: list[str]
) -> list[Item]:
    """The training samples with the labels that ``labeled`` leaves them.

    Raises:
        DataError: More labels are wanted than there are.
    """
    unknown: dict[str, set[str]] = {}
    for name, task in tasks.items():
        if task.labeled is None:
            continue
        ids = [item.id for item in training if name in item.tasks]
        count = task.labeled.count
        if count is None:
            count = max(1, round((task.labeled.fraction or 0) * len(ids)))
        if count > len(ids):
            message = f"{count} labels are wanted, but {len(ids)} training samples have one (validation is set apart first)"
            sources.problems.append(task_pair.problem(message, "tasks", name, "labeled", "count", fix=f"count: {len(ids)}"))
        chosen_by = task.labeled.seed_of(seed)
        unknown[name] = set(shuffled(ids, "labeled", chosen_by)[count:])
        notes.append(f"{name}: {count} of {len(ids)} training labels are used (seed {chosen_by})")
    sources.refuse()
    return [
        replace(item, tasks=frozenset(task for task in item.tasks if item.id not in unknown.get(task, ()))) if item.tasks else item
        for item in training
    ]


def _test(sources: Sources) -> Sequence[Item]:
    """The samples that are touched at the end.

    Raises:
        DataError: They can't be opened, or lack their inputs.
    """
    sources.open("test")
    sources.refuse()
    sources.check_keys("test")
    sources.refuse()
    return [item for items in sources.items("test").values() for item in items]
