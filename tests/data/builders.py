"""Tiny data sets that tests write."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from graphnas.spec import TaskPairSpec, load_spec

HEIGHT, WIDTH = 6, 8

NORMALS = {"type": "surface_normal", "key": "normal.png", "encoding": {"offset": 128, "scale": 127, "invalid": [128, 128, 128]}}
SEGMENTATION = {"type": "semantic_segmentation", "key": "seg.png", "classes": 4}


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "png")
    return stream.getvalue()


def image(number: int) -> np.ndarray:
    """Different for every number; every pixel says where it is."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([10 * rows, 10 * columns, np.full_like(rows, number % 256)], axis=2).astype(np.uint8)


def normals(number: int) -> np.ndarray:
    """Vectors to the right in the left half, up in the right half; the first pixel is unlabeled."""
    colors = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    colors[:, : WIDTH // 2, 0] = 255
    colors[:, WIDTH // 2 :, 1] = 255
    colors[0, 0] = 128
    return colors


def classes(number: int) -> np.ndarray:
    ids = np.full((HEIGHT, WIDTH), number % 4, np.uint8)
    ids[:, 0] = 255
    return ids


def sample(number: int, *, without: tuple[str, ...] = ()) -> dict[str, bytes]:
    members = {
        "img.png": png(image(number)),
        "normal.png": png(normals(number)),
        "seg.png": png(classes(number)),
        "json": json.dumps({"map": f"m{number // 3}"}).encode(),
    }
    return {key: data for key, data in members.items() if key not in without}


def samples(count: int) -> dict[str, dict[str, bytes]]:
    return {f"{number:04d}": sample(number) for number in range(count)}


def write_tar(path: Path, content: Mapping[str, Mapping[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, members in content.items():
            for key, data in members.items():
                info = tarfile.TarInfo(f"{name}.{key}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def load(folder: Path, **changes: Any) -> TaskPairSpec:
    """A task pair of rooms.tar, from a file in which every field has a line of its own."""
    content: dict[str, Any] = {
        "kind": "task_pair",
        "primary": "normals",
        "sources": {"rooms": {"layout": "webdataset", "train": "rooms.tar"}},
        "inputs": {"image": {"key": "img.png"}},
        "tasks": {"normals": NORMALS, "segmentation": SEGMENTATION},
        **changes,
    }
    path = folder / "pair.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=False))
    loaded = load_spec(path)
    assert isinstance(loaded, TaskPairSpec)
    return loaded


def message(error: Exception, folder: Path) -> str:
    """The message, with the folder's name left out."""
    return str(error).replace(f"{folder}/", "")
