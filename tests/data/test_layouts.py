"""One suite for every layout: what was written in its official form is what is read, by whoever reads it, in every split."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphnas.data import open_data
from graphnas.data.base import Layout, Part, Records
from graphnas.data.python import DatasetRecords
from graphnas.errors import DataError
from graphnas.registry import layouts
from graphnas.spec import TaskPairSpec, parse_spec
from tests.data.writers import WRITERS, Written

PARTS: tuple[Part, ...] = ("train", "test")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Written]:
    def of(name: str) -> Written:
        if name == "huggingface":  # the library datasets keeps what it has read; not in the user's folder here
            monkeypatch.setattr(pytest.importorskip("datasets").config, "HF_DATASETS_CACHE", tmp_path / "cache")
        if name == "nyuv2, official":
            pytest.importorskip("h5py")
            pytest.importorskip("scipy")
        return WRITERS[name](tmp_path / "data")

    return of


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest, write: Callable[[str], Written]) -> Written:
    return write(request.param)


def layout_of(source: Mapping[str, Any]) -> Layout:
    return layouts.get(source["layout"]).model_validate(source)


def opened(written: Written, part: Part) -> Records:
    if written.given is not None:
        return DatasetRecords("data", written.given[part])
    return layout_of(written.source).open(part)


def array(value: Any) -> np.ndarray:
    return np.array(value) if isinstance(value, Image.Image) else np.asarray(value)


def same(a: Any, b: Any) -> bool:
    a, b = array(a), array(b)
    return a.shape == b.shape and (a.dtype == b.dtype or a.size == 0 or a.ndim == 0 or a.dtype.kind == "U") and bool((a == b).all())


def pair(written: Written, **source: Any) -> TaskPairSpec:
    dense = [key for key, value in written.values["train"][0].items() if array(value).ndim > 1 and key != written.image]
    depth = next(key for key in dense if "depth" in key or "seg" in key or "disparity" in key)
    return parse_spec({
        "kind": "task_pair",
        "primary": "depth",
        "sources": {"data": {**written.source, **source}},
        "inputs": {"image": {"key": written.image}},
        "tasks": {"depth": {"type": "depth", "key": depth}},
    })  # fmt: skip


def test_every_layout_is_here() -> None:
    assert {name.partition(",")[0] for name in WRITERS} == set(layouts.names())


@pytest.mark.parametrize("part", PARTS)
def test_exact_values(written: Written, part: Part) -> None:
    records = opened(written, part)
    assert list(records.ids) == list(written.ids[part])
    for index, values in enumerate(written.values[part]):
        for key, value in values.items():
            assert key in records.keys(index), key
            assert same(records.read(index, key), value), key


def test_a_label_may_miss(written: Written) -> None:
    first, second = written.values["train"][:2]
    missing = set(first) - set(second)
    records = opened(written, "train")
    assert missing or "official" in written.source.values()
    assert not any(key in records.keys(1) for key in missing)
    assert all(key in records.keys(0) for key in missing)


def test_the_same_again_and_in_another_process(written: Written) -> None:
    records = opened(written, "train")
    again, sent = opened(written, "train"), pickle.loads(pickle.dumps(records))
    for other in (again, sent):
        assert list(other.ids) == list(records.ids)
        for key, value in written.values["train"][2].items():
            assert same(other.read(2, key), value)


def test_what_a_file_is_called(written: Written) -> None:
    assert opened(written, "train").file(0, written.image) == written.file


def test_a_key_that_there_is_not(written: Written) -> None:
    key, said = written.unknown
    assert "\n  fix: ".join(opened(written, "train").lacks(key)) == said


def test_stamps_change_with_the_file(written: Written) -> None:
    records = opened(written, "train")
    before = records.stamp(0, written.image)
    if written.stamped is None:
        assert before is None
        return
    assert before == records.stamp(0, written.image) != records.stamp(2, written.image)
    os.utime(written.stamped, ns=(1, 1))
    assert records.stamp(0, written.image) != before


def test_the_spec_comes_back(written: Written) -> None:
    layout = layout_of(written.source)
    assert layout_of(layout.model_dump(mode="json")) == layout


def test_splits_of_a_task_pair(written: Written) -> None:
    spec = pair(written, validation={"fraction": 0.5})
    data = open_data(spec, seed=0, datasets=None if written.given is None else {"data": written.given})
    train, validation, test = (
        [name for batch in data.evaluation(split, 2) for name in batch.ids] for split in ("training", "validation", "test")
    )
    key = spec.tasks["depth"].key
    having = [name for name, values in zip(written.ids["train"], written.values["train"], strict=True) if key in values]
    assert sorted(train + validation) == sorted(f"data/{name}" for name in having)
    assert test == [f"data/{name}" for name in written.ids["test"]]
    assert train
    assert validation
    if written.group is not None:
        field, values = written.group
        groups = dict(zip((f"data/{name}" for name in written.ids["train"]), values, strict=True))
        assert not {groups[name] for name in train} & {groups[name] for name in validation}
        assert f"groups by {field!r}" in data.describe()


def test_targets_and_what_is_not_labeled(written: Written) -> None:
    """Through the task: zero where the data set has no label."""
    spec = pair(written, validation={"fraction": 0.5})
    data = open_data(spec, seed=0, datasets=None if written.given is None else {"data": written.given})
    key = spec.tasks["depth"].key
    for batch in data.evaluation("test", 2):
        for row, target in zip(batch.rows["depth"].tolist(), batch.targets["depth"], strict=True):
            stored = array(written.values["test"][written.ids["test"].index(batch.ids[row].removeprefix("data/"))][key])
            assert np.array_equal(target[0].numpy(), np.maximum(stored.reshape(stored.shape[:2]), 0).astype(np.float32))
    shapes = {tuple(image.shape) for batch in data.evaluation("training", 1) for image in batch.inputs["image"]}
    assert shapes == {(3, 4, 6)}


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "python"])
def test_nothing_there(name: str, write: Callable[[str], Written]) -> None:
    source = write(name).source
    moved = {
        key: value.replace("/data", "/dat") if isinstance(value, str) and key not in ("layout", "format") else value
        for key, value in source.items()
    }
    with pytest.raises(DataError) as raised:
        layout_of(moved).open("train")
    assert str(raised.value).partition(": ")[0] in ("no such folder", "no such file", "no file matches")
    assert raised.value.problems[0].fix
