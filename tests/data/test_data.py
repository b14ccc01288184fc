"""Splits, draws, epochs and batches of a task pair."""

from __future__ import annotations

import itertools
import pickle
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from graphnas.data import Batch, Data, Loading, describe_inference, open_data
from graphnas.data.batches import Plan
from graphnas.graph.types import Image
from tests.data.builders import HEIGHT, NORMALS, SEGMENTATION, WIDTH, load, sample, samples, write_tar

GROUPED = {"rooms": {"layout": "webdataset", "train": "rooms.tar", "test": "test.tar", "validation": {"fraction": 0.2, "group": "map"}}}
RANDOM = [{"random_crop": [4, 6]}, "horizontal_flip", {"color_jitter": 0.3}]


@pytest.fixture
def rooms(tmp_path: Path) -> Callable[..., Data]:
    """Opens 30 training samples in 10 maps; the first 6 carry no segmentation, the last 3 no normals."""
    content = samples(30)
    for number in range(6):
        content[f"{number:04d}"] = sample(number, without=("seg.png",))
    for number in range(27, 30):
        content[f"{number:04d}"] = sample(number, without=("normal.png",))
    write_tar(tmp_path / "rooms.tar", content)
    write_tar(tmp_path / "test.tar", samples(5))

    def opened(seed: int = 0, only: Any = None, loading: Loading | None = None, **changes: Any) -> Data:
        pair = load(tmp_path, **{"sources": GROUPED, "transforms": RANDOM, **changes})
        return open_data(pair, seed=seed, tasks=only, loading=loading)

    return opened


def equal(a: Batch, b: Batch) -> bool:
    return a.ids == b.ids and all(
        x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
        for x, y in ((a.inputs, b.inputs), (a.targets, b.targets), (a.rows, b.rows))
    )


def all_equal(a: Iterable[Batch], b: Iterable[Batch]) -> bool:
    return all(equal(x, y) for x, y in zip(a, b, strict=True))


def ids(batches: Iterable[Batch]) -> list[str]:
    return [name for batch in batches for name in batch.ids]


def images(batches: Iterable[Batch]) -> dict[str, torch.Tensor]:
    return {name: image for batch in batches for name, image in zip(batch.ids, batch.inputs["image"], strict=True)}


def test_sizes_and_types(rooms: Callable[..., Data]) -> None:
    data = rooms(seed=1)
    assert data.primary == "normals"
    assert data.input_types() == {"image": Image(3, HEIGHT, WIDTH)}
    sizes = data.sizes()
    assert list(sizes) == ["training", "validation", "test"]
    assert sizes["test"] == {"normals": 5, "segmentation": 5}
    assert sizes["training"]["normals"] + sizes["validation"]["normals"] == 27
    assert sizes["training"]["segmentation"] + sizes["validation"]["segmentation"] == 24
    assert data.steps_per_epoch(8) == sizes["training"]["normals"] // 8
    assert data.steps_per_epoch(1000) == 1


def test_validation_is_cut_by_group_and_by_seed(rooms: Callable[..., Data]) -> None:
    chosen = ids(rooms().evaluation("validation", 4))
    left = ids(rooms().evaluation("training", 4))
    assert len(chosen) == 6
    assert len(left) == 24
    assert not set(chosen) & set(left)
    maps = [{int(name[-4:]) // 3 for name in side} for side in (chosen, left)]
    assert not maps[0] & maps[1]
    assert any(ids(rooms(seed=seed).evaluation("validation", 4)) != chosen for seed in (1, 2, 3))


def test_a_fifth_is_cut_where_nothing_is_said(rooms: Callable[..., Data]) -> None:
    data = rooms(sources={"rooms": {"layout": "webdataset", "train": "rooms.tar"}})
    assert len(ids(data.evaluation("validation", 4))) == 6


def test_validation_files_of_its_own(rooms: Callable[..., Data]) -> None:
    data = rooms(sources={"rooms": {"layout": "webdataset", "train": "rooms.tar", "validation": "test.tar"}})
    assert ids(data.evaluation("validation", 4)) == [f"rooms/{number:04d}" for number in range(5)]
    assert len(ids(data.evaluation("training", 4))) == 30
    assert data.sizes()["test"] == {"normals": 0, "segmentation": 0}


def labeled(count: int, seed: int | str = 0) -> dict[str, Any]:
    return {"normals": {**NORMALS, "labeled": {"count": count, "seed": seed}}, "segmentation": SEGMENTATION}


def test_labeled_subsets_are_nested(rooms: Callable[..., Data]) -> None:
    previous: set[str] = set()
    for count in (1, 4, 9, 15):
        data = rooms(tasks=labeled(count))
        chosen = set(ids(data.training(0, batch_size=count)))
        assert len(chosen) == count
        assert previous < chosen
        previous = chosen
    assert previous != set(ids(rooms(tasks=labeled(15, seed=1)).training(0, batch_size=15)))


def test_a_labeled_subset_by_the_seed_of_the_run(rooms: Callable[..., Data]) -> None:
    """As if the spec had said this number."""
    own = {"sources": {"rooms": {"layout": "webdataset", "train": "rooms.tar", "validation": "test.tar"}}}
    found: dict[int, set[str]] = {}
    for seed in (0, 3):
        data = rooms(seed=seed, tasks=labeled(9, "run"), **own)
        found[seed] = set(ids(data.training(0, batch_size=9)))
        assert found[seed] == set(ids(rooms(seed=7, tasks=labeled(9, seed), **own).training(0, batch_size=9)))
        assert data.describe().splitlines()[1] == f"normals: 9 of 27 training labels are used (seed {seed})"
    assert found[0] != found[3]


def test_what_is_not_labeled_is_an_auxiliary_sample_still(rooms: Callable[..., Data]) -> None:
    data = rooms(tasks=labeled(4))
    assert data.sizes()["training"]["normals"] == 4
    [batch] = data.training(0, batch_size=4, auxiliary_batch_size=12)
    assert len(batch.ids) == 16
    assert batch.rows["normals"].tolist()[:4] == [0, 1, 2, 3]
    assert len(batch.rows["segmentation"]) > 8
    assert data.sizes()["validation"]["normals"] > 2


def test_a_labeled_fraction(rooms: Callable[..., Data]) -> None:
    whole = rooms().sizes()["training"]["normals"]
    tasks = {"normals": {**NORMALS, "labeled": {"fraction": 0.5}}, "segmentation": SEGMENTATION}
    assert rooms(tasks=tasks).sizes()["training"]["normals"] == round(whole / 2)


def test_splits_and_draws_do_not_depend_on_which_tasks_are_wanted(rooms: Callable[..., Data]) -> None:
    both, one = rooms(tasks=labeled(9)), rooms(tasks=labeled(9), only=["normals"])
    assert ids(one.training(2, batch_size=3)) == ids(both.training(2, batch_size=3))
    for a, b in zip(one.training(2, batch_size=3), both.training(2, batch_size=3, auxiliary_batch_size=5), strict=True):
        assert torch.equal(a.inputs["image"], b.inputs["image"][:3])
        assert torch.equal(a.targets["normals"], b.targets["normals"][:3])
        assert set(a.targets) == {"normals"}
    assert set(ids(one.evaluation("validation", 4))) <= set(ids(both.evaluation("validation", 4)))


def test_an_epoch_is_a_pass_over_what_carries_the_primarys_label(rooms: Callable[..., Data]) -> None:
    data = rooms()
    n = data.sizes()["training"]["normals"]
    epochs = [ids(data.training(epoch, batch_size=4)) for epoch in range(3)]
    assert all(len(epoch) == len(set(epoch)) == n // 4 * 4 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert len(list(data.training(0, batch_size=4))) == data.steps_per_epoch(4)
    [short] = data.training(0, batch_size=1000)
    assert len(short.ids) == n


def test_rows_say_which_samples_have_the_label(rooms: Callable[..., Data]) -> None:
    data = rooms()
    for batch in data.training(0, batch_size=4, auxiliary_batch_size=6):
        assert len(batch.ids) == 10
        assert batch.inputs["image"].shape == (10, 3, 4, 6)
        for task, without in (("normals", range(27, 30)), ("segmentation", range(6))):
            rows = batch.rows[task].tolist()
            assert rows == [row for row, name in enumerate(batch.ids) if int(name[-4:]) not in without]
            assert len(batch.targets[task]) == len(rows)
        assert batch.targets["segmentation"].dtype == torch.int64


def test_a_task_without_labels_in_a_batch_is_left_out(rooms: Callable[..., Data]) -> None:
    batches = list(rooms().training(0, batch_size=1))
    alone = [batch for batch in batches if int(batch.ids[0][-4:]) < 6]
    assert alone
    assert all(set(batch.targets) == set(batch.rows) == {"normals"} for batch in alone)


def test_auxiliary_draws_repeat_only_when_all_had_their_turn(rooms: Callable[..., Data]) -> None:
    data = rooms()
    drawn = [name for batch in data.training(0, batch_size=3, auxiliary_batch_size=8) for name in batch.ids[3:]]
    assert len(set(drawn[:24])) == 24
    assert len(drawn) > 24


def test_one_sample_twice_in_a_batch_is_changed_twice(rooms: Callable[..., Data]) -> None:
    [batch] = rooms().training(0, batch_size=1000, auxiliary_batch_size=24)
    twice = [(a, b) for a, b in itertools.combinations(range(len(batch.ids)), 2) if batch.ids[a] == batch.ids[b]]
    assert twice
    assert not all(torch.equal(batch.inputs["image"][a], batch.inputs["image"][b]) for a, b in twice)


def test_halves_are_disjoint(rooms: Callable[..., Data]) -> None:
    data = rooms()
    pairs = list(data.training(0, batch_size=3, auxiliary_batch_size=2, halves=True))
    assert len(pairs) == max(1, data.steps_per_epoch(3) // 2)
    alphas = {name for batch, _ in pairs for name in batch.ids[:3]}
    weights = {name for _, batch in pairs for name in batch.ids[:3]}
    assert len(alphas) == len(weights) == 3 * len(pairs)
    assert not alphas & weights
    assert alphas != {name for batch, _ in data.training(1, batch_size=3, halves=True) for name in batch.ids}


@pytest.mark.parametrize(("count", "batch_size", "sizes"), [(1, 8, [(1, 1)]), (5, 8, [(2, 2)]), (9, 4, [(4, 4)]), (9, 2, [(2, 2), (2, 2)])])
def test_halves_of_few_samples(rooms: Callable[..., Data], count: int, batch_size: int, sizes: list[tuple[int, int]]) -> None:
    data = rooms(tasks=labeled(count))
    assert [(len(a.ids), len(b.ids)) for a, b in data.training(0, batch_size=batch_size, halves=True)] == sizes


@pytest.mark.parametrize("halves", [False, True])
def test_an_interrupted_epoch_goes_on_as_it_would_have(rooms: Callable[..., Data], halves: bool) -> None:
    options: Any = {"batch_size": 3, "auxiliary_batch_size": 2}
    data = rooms()
    if halves:
        whole = list(data.training(5, **options, halves=True))
        rest = list(rooms().training(5, **options, halves=True, start=1))
        assert all(all_equal(a, b) for a, b in zip(whole[1:], rest, strict=True))
    else:
        whole = list(data.training(5, **options))
        assert all_equal(whole[2:], rooms().training(5, **options, start=2))
        assert list(rooms().training(5, **options, start=len(whole))) == []


def test_the_same_seed_gives_the_same_batches(rooms: Callable[..., Data]) -> None:
    assert all_equal(rooms().training(1, batch_size=4, auxiliary_batch_size=4), rooms().training(1, batch_size=4, auxiliary_batch_size=4))
    assert not all_equal(rooms().training(1, batch_size=4), rooms().training(2, batch_size=4))


def test_changes_depend_on_seed_epoch_and_sample_alone(rooms: Callable[..., Data]) -> None:
    data = rooms()
    one, other, later = (images(data.training(epoch, batch_size=size)) for epoch, size in ((4, 1), (4, 7), (5, 1)))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert sum(torch.equal(one[name], later[name]) for name in one) < 3


def test_no_global_random_state_is_touched(rooms: Callable[..., Data]) -> None:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)
    data = rooms()
    list(data.training(0, batch_size=4, workers=1))
    list(data.evaluation("test", 4))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert str(np.random.get_state(legacy=False)) == str(states[2])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with fewer cores
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(rooms: Callable[..., Data], workers: int) -> None:
    here, there = rooms(), rooms()
    options: Any = {"batch_size": 4, "auxiliary_batch_size": 3}
    for epoch in range(2):
        assert all_equal(here.training(epoch, **options), there.training(epoch, **options, workers=workers))
    next(there.training(7, **options, workers=workers))  # an epoch that is left in the middle
    assert all_equal(here.training(2, **options), there.training(2, **options, workers=workers))
    for a, b in zip(here.training(3, **options, halves=True), there.training(3, **options, halves=True, workers=workers), strict=True):
        assert all_equal(a, b)
    assert all_equal(here.evaluation("test", 2), there.evaluation("test", 2, workers=workers))


def test_a_worker_that_is_not_forked_makes_the_same(rooms: Callable[..., Data]) -> None:
    data = rooms()
    here = list(data.evaluation("training", 8))
    maker = data._server._maker
    assert len(pickle.dumps(maker)) < 50_000  # without what is kept in memory
    copied = pickle.loads(pickle.dumps(maker))
    plans = [Plan(tuple(item for item in data._splits["training"] if item.id in batch.ids)) for batch in here]
    assert all_equal(here, map(copied.make, plans))


def test_evaluation_is_every_sample_once_without_random_changes(rooms: Callable[..., Data]) -> None:
    data = rooms(inputs={"image": {"key": "img.png"}})
    batches = list(data.evaluation("test", 2))
    assert [len(batch.ids) for batch in batches] == [2, 2, 1]
    assert ids(batches) == [f"rooms/{number:04d}" for number in range(5)]
    assert batches[0].inputs["image"].shape == (2, 3, HEIGHT, WIDTH)
    assert_close(batches[1].inputs["image"][0, 2], torch.full((HEIGHT, WIDTH), 2 / 255))
    normal = batches[0].targets["normals"][0]
    assert_close(normal[:, 3, 0], torch.tensor([1.0, 0.0, 0.0]))
    assert_close(normal[:, 3, -1], torch.tensor([0.0, 1.0, 0.0]))
    assert normal[:, 0, 0].tolist() == [0, 0, 0]
    assert batches[0].targets["segmentation"][1].tolist() == [[255] + [1] * (WIDTH - 1)] * HEIGHT


def test_a_resize_happens_in_evaluation_too(rooms: Callable[..., Data]) -> None:
    data = rooms(transforms=[{"resize": [12, 10]}, *RANDOM, {"resize": [8, 8]}])
    [batch] = data.evaluation("test", 8)
    assert batch.inputs["image"].shape == (5, 3, 8, 8)
    assert batch.targets["segmentation"].shape == (5, 8, 8)
    assert data.input_types() == {"image": Image(3, 8, 8)}


def test_normalization(rooms: Callable[..., Data]) -> None:
    def stacked(written: Any) -> torch.Tensor:
        [batch] = rooms(inputs={"image": {"key": "img.png", "normalize": written}}).evaluation("test", 8)
        return batch.inputs["image"]

    plain = stacked("none")
    assert 0 <= plain.min() <= plain.max() <= 1
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    assert_close(stacked("imagenet"), (plain - mean) / std)
    assert_close(stacked({"mean": [0.5], "std": [0.25]}), (plain - 0.5) / 0.25)


def test_several_sources(rooms: Callable[..., Data], tmp_path: Path) -> None:
    write_tar(tmp_path / "masks.tar", {f"{number:04d}": sample(number, without=("normal.png",)) for number in range(10)})
    data = rooms(sources={**GROUPED, "masks": {"layout": "webdataset", "train": "masks.tar"}})
    assert len(ids(data.evaluation("training", 4))) == 24 + 8
    assert all(name.startswith("rooms/") for name in ids(data.training(0, batch_size=4)))
    drawn = {name.split("/")[0] for batch in data.training(0, batch_size=4, auxiliary_batch_size=8) for name in batch.ids[4:]}
    assert drawn == {"rooms", "masks"}
    assert data.sizes()["test"] == {"normals": 5, "segmentation": 5}


def test_what_is_not_kept_is_decoded_again(rooms: Callable[..., Data]) -> None:
    small = rooms(loading=Loading(cache="none"))
    assert all_equal(small.training(0, batch_size=4), rooms().training(0, batch_size=4))
    assert small._samples._kept == {}


def test_describe(rooms: Callable[..., Data]) -> None:
    data = rooms(tasks=labeled(9))
    sizes = data.sizes()
    assert data.describe().splitlines() == [
        "rooms: 6 of 30 training samples are set apart for validation, 2 of 10 groups by 'map' (seed 0)",
        f"normals: 9 of {27 - sizes['validation']['normals']} training labels are used (seed 0)",
        f"training: 24 samples, 9 with normals, {sizes['training']['segmentation']} with segmentation",
        f"validation: 6 samples, {sizes['validation']['normals']} with normals, {sizes['validation']['segmentation']} with segmentation",
    ]


def test_inference_is_described_in_plain_data(rooms: Callable[..., Data], tmp_path: Path) -> None:
    rooms(inputs={"image": {"key": "img.png", "normalize": "imagenet"}}, transforms=[{"resize": [8, 8]}, *RANDOM], tasks=labeled(4))
    pair = load(
        tmp_path,
        inputs={"image": {"key": "img.png", "normalize": "imagenet"}},
        transforms=[{"resize": [8, 8]}, *RANDOM],
        tasks=labeled(4),
    )
    assert describe_inference(pair) == {
        "inputs": {"image": {"key": "img.png", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
        "transforms": [{"resize": {"size": [8, 8]}}],
        "task": {
            "name": "normals",
            "type": "surface_normal",
            "key": "normal.png",
            "encoding": {"offset": 128.0, "scale": 127.0, "invalid": [[128.0, 128.0, 128.0]]},
            "frame": {"x": "right", "y": "up", "z": "viewer"},
            "loss": "cosine",
        },
    }
