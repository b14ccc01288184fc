"""``graphnas data check``: tables, problems with file names, JSON, contact sheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

from graphnas.cli.main import cli
from graphnas.data.preview import captioned, drawn, legend, preview
from graphnas.registry import task_types
from graphnas.spec import TaskPairSpec, load_spec
from tests.data.writers import color, folder, millimetres, save

PAIR: dict[str, Any] = {
    "kind": "task_pair",
    "primary": "depth",
    "sources": {"rooms": {"layout": "folder", "train": "train", "test": "test", "lists": ["objects"], "validation": {"fraction": 0.25}}},
    "inputs": {"image": {"key": "img"}},
    "tasks": {
        "depth": {"type": "depth", "key": "depth", "scale": 0.001},
        "seg": {"type": "semantic_segmentation", "key": "seg", "classes": 4},
        "objects": {"type": "classification", "key": "objects", "classes": 2, "names": ["Door", "Lamp"], "multi_label": True},
        "outdoor": {"type": "classification", "key": "outdoor", "classes": 2},
    },
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder(tmp_path / "data")
    (tmp_path / "pair.yaml").write_text(yaml.safe_dump(PAIR, sort_keys=False))
    return tmp_path / "data"


def run(root: Path, *options: str) -> Any:
    return CliRunner().invoke(cli, ["data", "check", str(root.parent / "pair.yaml"), "--root", str(root), *options])


def rows(root: Path, *options: str) -> tuple[dict[tuple[str, str], Any], dict[str, Any]]:
    result = run(root, "--json", *options)
    said = json.loads(result.stdout)
    return {(row["part"], row["name"]): row for row in said["found"]}, said


def test_what_is_there(root: Path) -> None:
    found, said = rows(root)
    assert list(found) == [(part, name) for part in ("train", "test") for name in ("image", "depth", "seg", "objects", "outdoor")]
    assert [found["train", name]["present"] for name in ("image", "depth", "seg", "objects", "outdoor")] == [4, 4, 3, 4, 4]
    assert found["train", "seg"]["missing"] == 1
    depth = found["train", "depth"]
    assert depth["stored"] == [0, 1003]
    assert depth["decoded"] == pytest.approx([1, 1.003])
    assert depth["labeled"] == pytest.approx(3 / 4)
    assert depth["sizes"] == {"4x6": 4}
    assert found["train", "seg"]["histogram"] == {"0": 40, "1": 0, "2": 20, "3": 0}
    assert found["train", "objects"]["histogram"] == {"Door": 3, "Lamp": 3}
    assert found["train", "outdoor"]["histogram"] == {"0": 2, "1": 2}
    assert said["problems"] == []
    assert said["remarks"] == [
        "rooms, train, seg: no sample has the classes 1, 3",
        "rooms, test, seg: no sample has the classes 0, 3",
    ]
    assert said["notes"][0] == "rooms: 1 of 4 training samples are set apart for validation (seed 0)"


def test_the_tables(root: Path) -> None:
    result = run(root)
    assert result.exit_code == 0
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert lines[0] == "Samples"
    [line] = [line for line in lines if line.startswith("rooms    train   depth")]
    assert line.split() == ["rooms", "train", "depth", "4", "4", "0", "0", "75.0", "%", "4x6", "0", "to", "1003", "1", "to", "1.003"]
    assert "Classes of seg in rooms, train" in lines
    assert "remark: rooms, train, seg: no sample has the classes 1, 3" in lines


def test_every_broken_file_is_named_at_once(root: Path) -> None:
    img = root / "train" / "img" / "0001.png"
    img.write_bytes(img.read_bytes()[:-30])
    save(root / "train" / "seg" / "0002.png", np.full((4, 6), 9, np.uint8))
    save(root / "test" / "depth" / "0000.png", np.zeros((2, 3), np.uint16))
    result = run(root)
    assert result.exit_code == 2
    problems = result.stderr.replace(f"{root.parent}/", "").splitlines()
    assert problems == [
        "pair.yaml:14:10: inputs.image.key: data/train/img/0001.png: corrupt image: image file is truncated",
        "  fix: restore the file, or remove the sample",
        "pair.yaml:21:5: tasks.seg: data/train/seg/0002.png: class id 9 is outside 0 to 3 and is not ignore_index, 255",
        "  fix: ignore_index: 9, or classes: 10",
        "pair.yaml:18:10: tasks.depth.key: data/test/depth/0000.png: [2, 3] pixels, but 'image' has [4, 6]",
        "  fix: start transforms with resize: [4, 6], or correct the file",
    ]
    found, said = rows(root)
    assert [found["train", name]["unreadable"] for name in ("image", "depth", "seg")] == [1, 0, 1]
    assert len(said["problems"]) == 3


def test_a_wrong_encoding_is_remarked(root: Path) -> None:
    for number in range(4):
        save(root / "train" / "normal" / f"{number:04d}.png", np.full((4, 6, 3), 200, np.uint8))
    normals = "tasks.normals={type: surface_normal, key: normal, encoding: {offset: 0, scale: 100}}"
    _, said = rows(root, "--set", normals)
    assert said["remarks"][1] == (
        "rooms, train, normals: stored numbers from 200 to 200 are components from 2 to 2, of a unit vector; encoding?"
    )


@pytest.mark.parametrize(("scale", "decoded"), [(1, "1e+03 to 1e+03"), (1e-6, "0.001 to 0.001")])
def test_a_wrong_scale_is_remarked(root: Path, scale: float, decoded: str) -> None:
    for number in range(4):
        save(root / "train" / "depth" / f"{number:04d}.png", np.full((4, 6), 1001, np.uint16))
    _, said = rows(root, "--set", f"tasks.depth.scale={scale}")
    assert f"rooms, train, depth: stored numbers from 1001 to 1001 are depths from {decoded} metres; scale?" in said["remarks"]


def test_nothing_there(root: Path) -> None:
    result = run(root, "--set", "sources.rooms.train=trin")
    assert result.exit_code == 2
    assert "no such folder" in result.stderr
    result = CliRunner().invoke(cli, ["data", "check", "doom-rooms-six", "--root", str(root / "no")])
    assert result.exit_code == 2
    assert result.stderr == f"--root: no such folder: {root}/no\n  fix: check the path\n"


def test_presets_start_from_the_root(root: Path) -> None:
    result = CliRunner().invoke(cli, ["data", "check", "doom-rooms-six", "--root", str(root)])
    assert result.exit_code == 2
    assert f"no such folder: {root}/data/doom-rooms/training" in result.stderr


def test_what_may_be_left_out_is_no_mistake(root: Path) -> None:
    for number in range(4, 120):
        save(root / "train" / "img" / f"{number:04d}.png", color(number))
        save(root / "train" / "depth" / f"{number:04d}.png", millimetres(number))
    (root / "train" / "img" / "0077.png").write_bytes(b"broken")
    result = run(root, "--set", "sources.rooms.on_error=skip")
    assert (result.exit_code, result.stderr) == (0, "")
    reason = f"{root}/train/img/0077.png: corrupt image: it holds no image"
    assert f"remark: rooms, train: left out: {reason}" in result.stdout.splitlines()
    (root / "train" / "img" / "0088.png").write_bytes(b"broken")
    result = run(root, "--set", "sources.rooms.on_error=skip")
    assert result.exit_code == 2
    assert [line.partition(": ")[2] for line in result.stderr.splitlines() if "fix" not in line] == [
        f"inputs.image.key: {root}/train/img/{name}.png: corrupt image: it holds no image" for name in ("0077", "0088")
    ]


def test_a_contact_sheet(root: Path, tmp_path: Path) -> None:
    (root / "train" / "seg" / "0002.png").write_bytes(b"broken")
    run(root, "--preview", str(tmp_path / "sheet.png"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 5 * 196
        pixels = np.array(sheet)
    height = 192 * 4 // 6
    assert pixels[16 + 14, 0].tolist() == [0, 0, 0]  # the first pixel of the first image
    assert pixels[16 + 14 + height - 1, 191].tolist() == [30, 50, 0]  # and its last
    assert pixels[16 + 14 + 10, 196].tolist() == [0, 0, 0]  # depth, not labeled
    assert len(pixels) == 16 + 4 * (192 * 3 // 4 + 14) + 14  # a line of classes below
    assert (pixels[-8, 40:60] == [242, 109, 109]).all(axis=1).any()  # the color of class 0


def test_a_row_for_each_of_few_samples(root: Path) -> None:
    pair = load_spec(root.parent / "pair.yaml", kind="task_pair", folder=root)
    assert isinstance(pair, TaskPairSpec)
    height = (len(np.array(preview(pair))) - 16 - 14) // 4
    sheet = np.array(preview(pair))
    tops = [16 + 14 + row * height for row in range(4)]
    assert [int(sheet[top, 0, 2]) for top in tops] == [0, 1, 2, 3]  # the blue of a sample's image is its number


def test_what_colors_stand_for() -> None:
    depth = task_types.get("depth").model_validate({"type": "depth", "key": "k"})
    assert captioned(depth, torch.tensor([[[0.0, 1.25, 2.5]]])) == "1.25 to 2.5 m"
    assert captioned(depth, torch.zeros(1, 1, 3)) == "nothing labeled"
    one = task_types.get("semantic_segmentation").model_validate(
        {"type": "semantic_segmentation", "key": "k", "classes": 1, "names": ["road"]}
    )
    assert captioned(one, torch.zeros(1, 3, dtype=torch.uint8)) == ""
    assert [text for text, _ in legend("seg", one, 800)[0]] == ["seg:", "none", "road"]
    assert len(legend("seg", one, 80)) == 3


@pytest.mark.parametrize(
    ("spec", "target", "expected"),
    [
        ({"type": "depth", "key": "k"}, torch.tensor([[[0.0, 1.0, 2.0]]]), [[0, 0, 0], [68, 1, 84], [253, 231, 37]]),
        (
            {"type": "surface_normal", "key": "k"},
            torch.tensor([[[0.0, 1.0, 0.0]], [[0.0, 0.0, 0.0]], [[0.0, 0.0, -1.0]]]),
            [[0, 0, 0], [255, 128, 128], [128, 128, 0]],
        ),
        ({"type": "semantic_segmentation", "key": "k", "classes": 2}, torch.tensor([[255, 0, 0]], dtype=torch.uint8), [[0, 0, 0]]),
        ({"type": "boundary", "key": "k"}, torch.tensor([[255, 0, 1]], dtype=torch.uint8), [[0, 0, 0], [96] * 3, [255] * 3]),
    ],
)
def test_how_labels_are_drawn(spec: dict[str, Any], target: torch.Tensor, expected: list[list[int]]) -> None:
    task = task_types.get(spec["type"]).model_validate(spec)
    assert drawn(task, target)[0].tolist()[: len(expected)] == expected
