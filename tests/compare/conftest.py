"""A comparison so small that a cell takes a second or two: the search of tests/runs on tars of 24 and 6 images."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import graphnas as gn
from graphnas.compare import Plan
from graphnas.compare.files import memory_file
from graphnas.compare.plan import Variant, cell_of
from tests.runs.conftest import SEARCH, SPACE, changed, make_samples


def write_tar(path: Path, samples: list[dict[str, Any]]) -> None:
    with tarfile.open(path, "w") as tar:
        for number, sample in enumerate(samples):
            for key, value in sample.items():
                stored = value if key != "depth" else (value * 100).astype(np.uint16)
                content = io.BytesIO()
                Image.fromarray(stored).save(content, "png")
                info = tarfile.TarInfo(f"{number:04}.{key}.png")
                info.size = content.tell()
                content.seek(0)
                tar.addfile(info, content)


def write_search(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    """``search.json`` in a folder, its data beside it."""
    write_tar(folder / "train.tar", make_samples(24))
    write_tar(folder / "test.tar", make_samples(6, seed=1))
    (folder / "toy-space.json").write_text(json.dumps(SPACE))
    on_disk = {
        "task_pair.inputs": {"image": "image.png"},
        "task_pair.tasks.depth.key": "depth.png",
        "task_pair.tasks.depth.scale": 0.01,
        "task_pair.tasks.seg.key": "seg.png",
        "task_pair.sources": {"toy": {"layout": "webdataset", "train": "train.tar", "test": "test.tar", "validation": {"fraction": 0.34}}},
        "training.epochs": 6,
        "runtime.threads": 1,
    }
    file = folder / "search.json"
    file.write_text(json.dumps(changed(SEARCH, {**on_disk, **(changes or {})})))
    return file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the search in it."""
    write_search(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finish(
    plan: Plan,
    out: Path,
    values: Mapping[str, Mapping[int, float | None]],
    seconds: dict[str, float] | None = None,
    memory: dict[str, int] | None = None,
) -> None:
    """Cells of a plan as if they had run: variant's name -> seed -> its metric; seconds and peak bytes by the variant's name."""
    for variant in plan.variants:
        for seed, value in values.get(variant.name, {}).items():
            finish_cell(variant, seed, out, {"rel": value, "delta1": value}, (seconds or {}).get(variant.name, 10.0))
            if variant.name in (memory or {}):
                measured = {"peak_bytes": (memory or {})[variant.name], "before_bytes": 1000, "measure": "resident"}
                memory_file(out / cell_of(variant, seed).folder).write_text(json.dumps(measured))


def finish_cell(variant: Variant, seed: int, out: Path, metrics: Mapping[str, float | None], seconds: float) -> None:
    cell = cell_of(variant, seed)
    run = out / cell.folder
    run.mkdir(parents=True, exist_ok=True)
    (run / "spec.json").write_text(json.dumps(gn.dump_spec(cell.spec)))
    results = {
        "split": "test",
        "metric": "rel",
        "direction": "min",
        "cut_gap": 0.25,
        "rows": [{"name": "pruned", "metrics": metrics, "macs": 200, "parameters": 9, "seconds": seconds}],
        "certificate": {"macs": 200, "macs_single_task": 200},
    }
    (run / "results.json").write_text(json.dumps(results))
    (out / "compare.json").write_text(json.dumps({"kind": "comparison"}))
