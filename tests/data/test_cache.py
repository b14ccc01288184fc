"""Decoded samples in memory and on disk: never another result, never out of date."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from graphnas.data import Batch, Data, Loading, open_data, opening
from graphnas.data import samples as samples_module
from graphnas.data.batches import Server
from graphnas.data.cache import CacheKind, default_folder
from graphnas.spec import parse_spec
from tests.data.writers import WRITERS, color, folder, save

KINDS: tuple[CacheKind, ...] = ("auto", "memory", "disk", "none")


def opened(root: Path, cache: CacheKind, **changes: Any) -> Data:
    pair = parse_spec({
        "kind": "task_pair",
        "primary": "depth",
        "sources": {"rooms": {"layout": "folder", "train": str(root / "train"), "lists": ["objects"], "validation": {"fraction": 0.25}}},
        "inputs": {"image": {"key": "img"}},
        "tasks": {
            "depth": {"type": "depth", "key": "depth", "scale": 0.001},
            "seg": {"type": "semantic_segmentation", "key": "seg", "classes": 3},
            "outdoor": {"type": "classification", "key": "outdoor", "classes": 2},
            "objects": {"type": "classification", "key": "objects", "classes": 2, "names": ["Door", "Lamp"], "multi_label": True},
        },
        "transforms": [{"resize": [3, 4]}, {"color_jitter": 0.5}],
        **changes,
    })  # fmt: skip
    return open_data(pair, seed=0, loading=Loading(cache, str(root / "cache")))


def batches(data: Data) -> Iterator[Batch]:
    yield from data.training(3, batch_size=2, auxiliary_batch_size=3)
    yield from data.evaluation("validation", 2)


def equal(a: Batch, b: Batch) -> bool:
    pairs = ((a.inputs, b.inputs), (a.targets, b.targets), (a.rows, b.rows))
    return a.ids == b.ids and all(x.keys() == y.keys() and all(x[name].equal(y[name]) for name in x) for x, y in pairs)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder(tmp_path / "data")
    return tmp_path / "data"


def cached(root: Path) -> list[Path]:
    return sorted((root / "cache").rglob("*.safetensors"))


def test_no_batch_depends_on_the_cache(root: Path) -> None:
    plain = list(batches(opened(root, "none")))
    for kind in KINDS:
        for _ in range(2):  # cold, warm
            assert all(equal(a, b) for a, b in zip(batches(opened(root, kind)), plain, strict=True)), kind
    assert len(cached(root)) == 4
    assert not list((root / "cache").rglob("tmp*"))


def test_what_is_on_disk_is_not_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = list(batches(opened(root, "disk")))

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("decoded again")

    monkeypatch.setattr(samples_module, "image_tensor", never)
    assert all(equal(a, b) for a, b in zip(batches(opened(root, "disk")), plain, strict=True))


def images(data: Data) -> dict[str, torch.Tensor]:
    return {name: image for batch in data.evaluation("training", 4) for name, image in zip(batch.ids, batch.inputs["image"], strict=True)}


def test_a_changed_file_is_decoded_again(root: Path) -> None:
    before = images(opened(root, "disk"))
    changed = min(before)
    path = root / "train" / "img" / f"{changed.removeprefix('rooms/')}.png"
    modified = path.stat().st_mtime_ns
    save(path, color(200))
    os.utime(path, ns=(modified + 1, modified + 1))
    after = images(opened(root, "disk"))
    assert [name for name in before if not before[name].equal(after[name])] == [changed]


@pytest.mark.parametrize(
    "changes",
    [
        {"transforms": [{"resize": [2, 2]}]},
        {"tasks": {"depth": {"type": "depth", "key": "depth", "scale": 0.01}}},
    ],
)
def test_another_recipe_is_another_file(root: Path, changes: dict[str, Any]) -> None:
    list(batches(opened(root, "disk")))
    first = set(cached(root))
    expected = list(batches(opened(root, "none", **changes)))
    assert all(equal(a, b) for a, b in zip(batches(opened(root, "disk", **changes)), expected, strict=True))
    assert len(set(cached(root)) - first) in (3, 4)  # one sample has no seg


def test_which_labels_are_used_changes_no_file(root: Path) -> None:
    tasks = {"depth": {"type": "depth", "key": "depth", "scale": 0.001}}
    list(opened(root, "disk", tasks=tasks).evaluation("training", 4))
    first = cached(root)
    list(opened(root, "disk", tasks={"depth": {**tasks["depth"], "missing": "error"}}).evaluation("training", 4))
    assert cached(root) == first


def test_damaged_files_of_the_cache_are_written_anew(root: Path) -> None:
    plain = list(batches(opened(root, "disk")))
    for path in cached(root):
        path.write_bytes(path.read_bytes()[:20])
    assert all(equal(a, b) for a, b in zip(batches(opened(root, "disk")), plain, strict=True))
    assert all(load_file(path) for path in cached(root))


def test_a_cache_that_can_not_be_written_is_no_error(root: Path) -> None:
    (root / "cache").write_bytes(b"no folder")
    plain = list(batches(opened(root, "none")))
    assert all(equal(a, b) for a, b in zip(batches(opened(root, "disk")), plain, strict=True))


def test_memory_keeps_up_to_its_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "CACHE_BYTES", 400)
    data = opened(root, "auto")
    list(batches(data))
    assert 0 < len(data._samples._kept) < 4
    whole = opened(root, "memory")
    list(batches(whole))
    assert len(whole._samples._kept) == 3
    assert len(whole._validation._kept) == 1


def kept_bytes(data: Data) -> int:
    samples = sum(value.nbytes for sample in data._samples._kept.values() for value in sample.values)
    batches = (kept.batch for kept in data._validation._kept.values())
    return samples + sum(tensor.nbytes for b in batches for named in (b.inputs, b.targets, b.rows) for tensor in named.values())


@pytest.mark.parametrize("workers", [0, 1])
def test_validation_is_prepared_once(root: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = opened(root, "auto", transforms=[{"resize": [3, 4]}], sources=half(root))
    first = list(data.evaluation("validation", 1, workers))
    assert len(first) == 2
    monkeypatch.setattr(Server, "each", lambda _, plans, workers: iter([pytest.fail("made again")] if plans else []))
    again = list(data.evaluation("validation", 1, workers))
    assert all(equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(batch.inputs["image"].is_shared() for batch in again)
    assert not any((item.source, item.part, item.index) in data._samples._kept for item in data._items("validation"))
    assert data._samples._kept_bytes == kept_bytes(data)


def test_a_kept_batch_that_was_changed_in_place_is_made_again(root: Path) -> None:
    data = opened(root, "auto", sources=half(root))
    first = [{name: image.clone() for name, image in batch.inputs.items()} for batch in data.evaluation("validation", 1)]
    next(iter(data.evaluation("validation", 1))).inputs["image"].zero_()
    again = list(data.evaluation("validation", 1))
    assert all(a["image"].equal(b.inputs["image"]) for a, b in zip(first, again, strict=True))
    assert data._samples._kept_bytes == kept_bytes(data)


@pytest.mark.parametrize("limit", [0, 100, 300, 600, 10_000])
def test_kept_batches_count_towards_the_limit(root: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "CACHE_BYTES", limit)
    data, plain = opened(root, "auto", sources=half(root)), list(batches(opened(root, "none", sources=half(root))))
    for _ in range(2):
        assert all(equal(a, b) for a, b in zip(batches(data), plain, strict=True))
        assert data._samples._kept_bytes == kept_bytes(data) <= limit
    assert len(data._validation._kept) == (limit == 10_000)


def half(root: Path) -> dict[str, Any]:
    return {"rooms": {"layout": "folder", "train": str(root / "train"), "lists": ["objects"], "validation": {"fraction": 0.5}}}


def test_where_caches_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_folder() == "/caches/graphnas/samples"


def test_samples_without_files_are_not_cached(tmp_path: Path) -> None:
    written = WRITERS["python"](tmp_path / "data")
    pair = parse_spec({
        "kind": "task_pair",
        "primary": "depth",
        "sources": {"data": written.source},
        "inputs": {"image": {"key": "img"}},
        "tasks": {"depth": {"type": "depth", "key": "depth"}},
    })  # fmt: skip
    assert written.given is not None
    data = open_data(pair, seed=0, datasets={"data": written.given}, loading=Loading("disk", str(tmp_path / "cache")))
    list(data.evaluation("training", 2))
    assert not (tmp_path / "cache").exists()
