"""Every task pair that is shipped, with each of its tasks as the primary, on tiny data in the form that it is written for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphnas.data import open_data
from graphnas.spec import TaskPairSpec, load_spec, presets
from tests.data.builders import png, write_tar
from tests.data.writers import save

SIDE = 16
RANDOM = np.random.default_rng(0)


def color() -> np.ndarray:
    return RANDOM.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def whole(top: int, kind: type = np.uint8) -> np.ndarray:
    return RANDOM.integers(0, top, (SIDE, SIDE)).astype(kind)


def nyuv2(root: Path) -> None:
    for part in ("train", "test"):
        for number in range(3):
            save(root / part / "img" / f"{number}.png", color())
            save(root / part / "seg" / f"{number}.png", whole(40))
            save(root / part / "normal_mask" / f"{number}.png", color())
            save(root / part / "depth" / f"{number}.npy", RANDOM.uniform(1, 5, (SIDE, SIDE)).astype(np.float32))


def cityscapes(root: Path) -> None:
    for part, cities in (("train", ("aachen", "bonn")), ("val", ("ulm",))):
        for city in cities:
            name = f"{city}_000000_000019"
            save(root / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png", color())
            save(root / "gtFine" / part / city / f"{name}_gtFine_labelIds.png", whole(34))
            save(root / "disparity" / part / city / f"{name}_disparity.png", whole(30_000, np.uint16))


def taskonomy(root: Path) -> None:
    for building in ("ackermanville", "adairsville", "zebra"):
        arrays = {
            "rgb": color(),
            "normal": color(),
            "depth_euclidean": whole(4000, np.uint16),
            "class_object": RANDOM.normal(size=1000),
            "class_scene": RANDOM.normal(size=365),
        }
        for domain, array in arrays.items():
            name = f"point_0_view_0_domain_{domain.replace('_', '')}.{'npy' if array.ndim == 1 else 'png'}"
            save(root / domain / "taskonomy" / building / name, array.astype(np.float32) if array.ndim == 1 else array)
    (root / "train_val_test_tiny.csv").write_text("id,train,val,test\nackermanville,1,0,0\nadairsville,1,0,0\nzebra,0,0,1\n")


def rooms(root: Path) -> None:
    for part in ("training", "testing"):
        lines = ["id,map,outdoor,objects"]
        members: dict[str, dict[str, bytes]] = {}
        for number in range(3):
            name = f"{number:04d}"
            labels = {"img": color(), "seg": whole(11), "normal": color(), "depth": whole(9000, np.uint16)}
            for key, array in labels.items():
                save(root / part / key / f"{name}.png", array)
            members[name] = {f"{key}.png": png(array) for key, array in labels.items()}
            members[name]["json"] = f'{{"map": "M{number}"}}'.encode()
            lines.append(f"{name},M{number},{number % 2},{'Medikit Key' if number else ''}")
        (root / part / "meta.csv").write_text("\n".join(lines) + "\n")
        write_tar(root / f"{part}.tar", members)


WRITERS: dict[str, Callable[[Path], None]] = {"nyuv2": nyuv2, "cityscapes": cityscapes, "taskonomy": taskonomy, "doom-rooms": rooms}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shipped")
    for name, write in WRITERS.items():
        write(root / "data" / name)
    return root


def test_what_is_shipped() -> None:
    nyuv2 = ["normals-segmentation", "normals-depth", "segmentation-depth", "normals-segmentation-depth"]
    taskonomy = ["object-scene", "object-depth", "object-normals", "scene-depth", "scene-normals", "depth-normals"]
    doom = ["normals-segmentation", "normals-segmentation-depth", "six"]
    expected = [f"nyuv2-{pair}" for pair in nyuv2] + [f"taskonomy-{pair}" for pair in taskonomy] + [f"doom-rooms-{pair}" for pair in doom]
    assert sorted(presets("task_pair")) == sorted([*expected, "cityscapes-segmentation-disparity"])


@pytest.mark.parametrize("name", presets("task_pair"))
def test_each_task_is_a_primary_with_the_others_beside_it(name: str, data: Path) -> None:
    first = load_spec(name, kind="task_pair", folder=data)
    assert isinstance(first, TaskPairSpec)
    assert first.primary == next(iter(first.tasks))
    sizes = [f"transforms[{number}].{step.name}=[{SIDE}, {SIDE}]" for number, step in enumerate(first.transforms) if step.sizes != "kept"]
    labels = [f"tasks.{task}.labeled=null" for task in first.tasks]
    for primary in first.tasks:
        pair = load_spec(name, kind="task_pair", folder=data, overrides=[f"primary={primary}", *sizes, *labels])
        assert isinstance(pair, TaskPairSpec)
        opened = open_data(pair, seed=0)
        assert opened.primary == primary
        batch = next(opened.training(0, batch_size=1))
        assert set(batch.targets) == set(first.tasks)
        assert len(list(opened.evaluation("test", 8))) == 1
