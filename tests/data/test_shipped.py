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
        assert isinstance(source, FileLayout)
        assert source.train.startswith(f"{tmp_path}/data/")


def test_the_preset_is_the_quickstarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for where the data lie."""
    monkeypatch.chdir(ROOT / "examples" / "quickstart")
    preset = load_spec("doom-rooms-normals-segmentation", kind="task_pair")
    quickstart = load_spec("task_pair.yaml")
    assert preset.tasks == quickstart.tasks
    assert preset.inputs == quickstart.inputs
    assert preset.transforms == quickstart.transforms
