"""Six tasks of six types at once, on the rooms that come with the quickstart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import graphnas as gn

DATA = Path(__file__).resolve().parents[2] / "examples" / "quickstart" / "data"
SOURCE = f"{{layout: webdataset, train: {DATA}/training.tar, test: {DATA}/testing.tar, validation: {{fraction: 0.1, group: map}}}}"
SEARCH = """\
kind: search
task_pair: doom-rooms-six
networks:
  objects: {use: small-resnet-classifier}
  outdoor: {use: small-resnet-classifier}
  "*": {use: small-resnet-fpn, parameters: {channels: 8}}
space: aux-nas-proximal
training:
  steps: 3
  batch_size: 4
  auxiliary_batch_size: 2
  updates: joint
  optimizers: {weights: {type: adamw, lr: 1e-3}, alphas: {type: sgd, lr: 0.1}}
baseline: none
"""


@pytest.mark.slow
def test_six_tasks_at_once(tmp_path: Path) -> None:
    (tmp_path / "search.yaml").write_text(SEARCH)
    spec = gn.load_spec(
        tmp_path / "search.yaml",
        overrides=[
            f"task_pair.sources.rooms={SOURCE}",
            "task_pair.tasks.disparity.from_depth.focal_length=55.4256",
            "task_pair.tasks.depth.labeled={fraction: 0.5}",
            "task_pair.tasks.segmentation.labeled={count: 100}",
            "task_pair.transforms=[{random_crop: [32, 32]}, {color_jitter: 0.3}]",
        ],
    )
    result = gn.search(spec, out=tmp_path / "run")
    assert result.certificate.holds
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    found = {row["task"]: row["loss"] for row in rows if row["split"] == "validation"}
    assert set(found) == {"normals", "segmentation", "depth", "disparity", "objects", "outdoor"}
    assert all(loss is not None for loss in found.values())
    [only] = gn.predict(tmp_path / "run", [_image(tmp_path)])
    assert only.values.shape == (3, 48, 64)


def _image(folder: Path) -> Path:
    Image.new("RGB", (64, 48), "gray").save(folder / "room.png")
    return folder / "room.png"
