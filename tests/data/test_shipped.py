"""The quickstart's data and the shipped task pairs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from graphnas.data import FileLayout, open_data
from graphnas.spec import TaskPairSpec, load_spec, presets

ROOT = Path(__file__).parents[2]


def test_quickstart() -> None:
    pair = load_spec(ROOT / "examples" / "quickstart" / "task_pair.yaml")
    data = open_data(pair, seed=0)
    sizes = data.sizes()
    assert sizes["training"]["normals"] == 100
    assert sizes["training"]["segmentation"] + sizes["validation"]["segmentation"] == 600
    assert abs(sizes["validation"]["normals"] - 120) <= 10
    assert sizes["test"] == {"normals": 200, "segmentation": 200}
    batch = next(data.training(0, batch_size=8, auxiliary_batch_size=8))
    assert batch.inputs["image"].shape == (16, 3, 40, 56)
    assert len(batch.rows["segmentation"]) == 16
    length = batch.targets["normals"].norm(dim=1)
    assert_close(length[length > 0], torch.ones_like(length[length > 0]))
    assert ((length > 0).float().mean() > 0.7).item()
    assert set(batch.targets["segmentation"].unique().tolist()) <= {*range(11), 255}


@pytest.mark.parametrize("name", presets("task_pair"))
def test_presets_read_data_below_the_current_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pair = load_spec(name, kind="task_pair")
    assert isinstance(pair, TaskPairSpec)
    for source in pair.sources.values():
        place = source.train if isinstance(source, FileLayout) else source.root
        assert place.startswith(f"{tmp_path}/data/")


def test_the_preset_is_the_quickstarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for where the data lie."""
    monkeypatch.chdir(ROOT / "examples" / "quickstart")
    preset = load_spec("doom-rooms-normals-segmentation", kind="task_pair")
    quickstart = load_spec("task_pair.yaml")
    assert preset.tasks == quickstart.tasks
    assert preset.inputs == quickstart.inputs
    assert preset.transforms == quickstart.transforms


TARS = ROOT / "examples" / "quickstart" / "data"
ROOMS = ROOT.parent / "shared" / "data" / "doom-rooms"
SIX = {"normals", "segmentation", "depth", "disparity", "objects", "outdoor"}
SMALL = [
    f"sources.rooms={{layout: webdataset, train: {TARS}/training.tar, test: {TARS}/testing.tar, validation: {{group: map}}}}",
    "tasks.disparity.from_depth.focal_length=55.4256",
    "transforms=[{random_crop: [40, 56]}, {color_jitter: 0.3}]",
]


def six(*overrides: str) -> TaskPairSpec:
    pair = load_spec("doom-rooms-six", kind="task_pair", overrides=overrides)
    assert isinstance(pair, TaskPairSpec)
    return pair


def test_six_tasks_on_the_shipped_tars() -> None:
    data = open_data(six(*SMALL), seed=0)
    sizes = data.sizes()
    assert all(set(found) == SIX for found in sizes.values())
    assert sizes["test"] == dict.fromkeys(SIX, 200)
    assert {task: sizes["training"][task] + sizes["validation"][task] for task in SIX} == dict.fromkeys(SIX, 600)
    batch = next(data.training(0, batch_size=8))
    assert batch.targets["objects"].shape == (8, 18)
    assert set(batch.targets["objects"].unique().tolist()) <= {0, 1}
    assert batch.targets["outdoor"].shape == (8,)
    depth, disparity = batch.targets["depth"], batch.targets["disparity"]
    known = depth > 0
    assert torch.equal(known, disparity > 0)
    assert_close(disparity[known], 0.2 * 55.4256 / depth[known])


def test_six_tasks_with_labels_that_miss() -> None:
    labels = ["tasks.depth.labeled={fraction: 0.5}", "tasks.segmentation.labeled={count: 100}"]
    data, whole = open_data(six(*SMALL, *labels), seed=0), open_data(six(*SMALL), seed=0)
    found, there = data.sizes()["training"], whole.sizes()["training"]
    assert found == {**there, "depth": round(there["depth"] / 2), "segmentation": 100}
    assert data.sizes()["validation"] == whole.sizes()["validation"]


@pytest.mark.skipif(not ROOMS.is_dir(), reason="the folders of doom-rooms are not at hand")
def test_six_tasks_in_folders_are_those_of_the_tars() -> None:
    """At twice the size: the same frames, names, maps and labels of whole samples."""
    pair = six(f"sources.rooms.train={ROOMS}/training", f"sources.rooms.test={ROOMS}/testing", "transforms=[]")
    small = open_data(six(*SMALL[:2], "transforms=[]"), seed=0)
    for a, b in zip(open_data(pair, seed=0).evaluation("test", 16), small.evaluation("test", 16), strict=True):
        assert a.ids == b.ids
        assert a.inputs["image"].shape[-2:] == (96, 128)
        for task in ("objects", "outdoor"):
            assert torch.equal(a.targets[task], b.targets[task])
        mean = torch.nn.functional.avg_pool2d(a.targets["depth"], 2)
        known = torch.nn.functional.avg_pool2d((a.targets["depth"] > 0).float(), 2).eq(1) & (b.targets["depth"] > 0)
        assert (mean - b.targets["depth"])[known].abs().median() < 0.1


@pytest.mark.skipif(not ROOMS.is_dir(), reason="the folders of doom-rooms are not at hand")
def test_each_of_three_tasks_as_the_primary_in_folders() -> None:
    sources = [f"sources.rooms.train={ROOMS}/training", f"sources.rooms.test={ROOMS}/testing"]
    for primary in ("normals", "segmentation", "depth"):
        pair = load_spec("doom-rooms-normals-segmentation-depth", kind="task_pair", overrides=[*sources, f"primary={primary}"])
        data = open_data(pair, seed=0)
        assert data.primary == primary
        assert data.steps_per_epoch(8) == data.sizes()["training"][primary] // 8
