"""A folder with a whole search in small: 16 images of 16x16 pixels, a network of two convolutions, and a few steps."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from graphnas.cli.main import cli
from tests.compare.conftest import write_search

Run = Callable[..., tuple[int, str, str]]

SPECS = {
    "network.yaml": """\
kind: network
parameters: {out_channels: {type: integer, minimum: 1}}
inputs: {image: "image[3, H, W]"}
nodes:
  stem: {op: conv2d, out_channels: 4}
  body: {op: conv2d, out_channels: 6, stride: 2}
  head: {op: fpn_head, inputs: [stem, body], channels: 4, out_channels: $out_channels}
outputs: {prediction: head}
taps: {s1: stem, s2: body}
""",
    "space.yaml": """\
kind: search_space
links:
  - direction: auxiliary -> primary
    operations: [conv1x1]
    gate: {initial: 0.001}
    converges_to: zero
  - direction: primary -> auxiliary
    operations: [{op: conv1x1, initial: 1}]
    converges_to: free
""",
    "pair.yaml": """\
kind: task_pair
primary: normals
sources: {rooms: {layout: webdataset, train: train.tar, test: test.tar, validation: {fraction: 0.25}}}
inputs: {image: img.png}
tasks:
  normals: {type: surface_normal, key: normal.png, encoding: {offset: 128, scale: 127, invalid: [128, 128, 128]}}
  seg: {type: semantic_segmentation, key: seg.png, classes: 3}
""",
    "search.yaml": """\
kind: search
task_pair: pair.yaml
networks: {"*": {use: network.yaml}}
space: space.yaml
training:
  steps: 3
  batch_size: 4
  updates: joint
  optimizers: {weights: {type: sgd, lr: 1e-2}, alphas: {type: sgd, lr: 1e-2}}
runtime: {device: cpu}
""",
}


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command."""
    result = CliRunner().invoke(cli, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def write_tar(path: Path, count: int) -> None:
    random = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for index in range(count):
            images = {
                "img.png": random.integers(0, 256, (16, 16, 3), dtype=np.uint8),
                "normal.png": np.full((16, 16, 3), (128, 128, 255), np.uint8),
                "seg.png": random.integers(0, 3, (16, 16), dtype=np.uint8),
            }
            for key, pixels in images.items():
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "png")
                info = tarfile.TarInfo(f"{index:04}.{key}")
                info.size = file.tell()
                file.seek(0)
                tar.addfile(info, file)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the specs and their data in it."""
    for name, text in SPECS.items():
        (tmp_path / name).write_text(text)
    write_tar(tmp_path / "train.tar", 16)
    write_tar(tmp_path / "test.tar", 4)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def toy_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the search that comparisons are tested with in it."""
    write_search(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def graphnas() -> Run:
    return run


@pytest.fixture
def graphnas_json() -> Callable[..., dict[str, object]]:
    """Runs a command with ``--json`` that must succeed; what it printed."""

    def checked(*arguments: str) -> dict[str, object]:
        status, out, err = run(*arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    return checked
