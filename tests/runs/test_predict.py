"""What an artifact says about images: prepared and decoded as it says itself, at the size of each image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler import build
from graphnas.data import describe_inference
from graphnas.errors import ArtifactError, DataError
from graphnas.graph import types

MakeArtifact = Callable[..., Path]
DENSE = {"a": {"op": "conv2d", "out_channels": 4, "stride": 2}, "b": {"op": "conv2d", "out_channels": "$out_channels"}}
WHOLE = {**DENSE, "c": {"op": "global_avg_pool"}, "d": {"op": "flatten"}, "e": {"op": "linear", "out_features": "$out_channels"}}


@pytest.fixture
def make_artifact(tmp_path: Path) -> MakeArtifact:
    """An artifact of an untrained network."""

    def make(task: dict[str, Any], *, nodes: dict[str, Any] = DENSE, transforms: tuple[Any, ...] = (), name: str = "artifact") -> Path:
        network = {
            "kind": "network",
            "parameters": {"out_channels": "integer"},
            "inputs": {"image": "image[3, H, W]"},
            "nodes": nodes,
            "outputs": {"prediction": next(reversed(nodes))},
        }
        pair = {
            "kind": "task_pair",
            "primary": "it",
            "sources": {"toy": {"layout": "python"}},
            "inputs": {"image": {"key": "image", "normalize": "imagenet"}},
            "tasks": {"it": {"key": "it", **task}},
            "transforms": list(transforms),
        }
        spec = gn.parse_spec(
            {
                "kind": "search",
                "task_pair": pair,
                "networks": {"*": {"use": network}},
                "space": {"kind": "search_space", "links": []},
                "training": {"epochs": 1, "batch_size": 1, "optimizers": {"weights": {"type": "sgd", "lr": 0.1}}},
            }
        )
        assert isinstance(spec, gn.SearchSpec)
        pruned = gn.prune(build(spec, {"image": types.Image(3, 12, 16)}))
        return gn.save(pruned, tmp_path / name, task=describe_inference(spec.task_pair))

    return make


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "room.png")
    return tmp_path / "room.png"


def raw(artifact: Path, image: Path, size: tuple[int, int] | None = (12, 16)) -> Tensor:
    """What the network itself returns, at this size."""
    with Image.open(image) as opened:
        pixels = torch.from_numpy(np.array(opened).transpose(2, 0, 1)).float()[None] / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        found = gn.load(artifact)((pixels - mean) / std)
    return found if size is None else nn.functional.interpolate(found, size=size, mode="bilinear", align_corners=False)


def unit(values: Tensor) -> Tensor:
    return values / values.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"type": "semantic_segmentation", "classes": 5}, lambda x: x.argmax(1)),
        ({"type": "semantic_segmentation", "classes": 1}, lambda x: (x[:, 0] > 0).long()),
        ({"type": "surface_normal"}, unit),
        ({"type": "depth"}, lambda x: x.clamp(min=1e-6)),
        ({"type": "depth", "inverse": True}, lambda x: 1 / x.clamp(min=1e-6)),
        ({"type": "disparity", "unit": "inverse_metres"}, lambda x: x.clamp(min=0)),
        ({"type": "boundary"}, lambda x: (x[:, 0] > 0).long()),
        ({"type": "regression", "channels": 2, "per": "pixel", "geometry": "none"}, lambda x: x),
    ],
)
def test_a_value_a_pixel(task: dict[str, Any], expected: Callable[[Tensor], Tensor], make_artifact: MakeArtifact, image: Path) -> None:
    artifact = make_artifact(task)
    [found] = gn.predict(artifact, [image], out=image.parent / "out")
    values = expected(raw(artifact, image))[0].numpy()
    np.testing.assert_allclose(found.values, values, rtol=1e-4, atol=1e-5)
    assert found.values.shape[-2:] == (12, 16)
    assert found.files == tuple(str(image.parent / "out" / f"room.it.{suffix}") for suffix in ("npy", "png"))
    np.testing.assert_array_equal(np.load(found.files[0]), found.values)
    with Image.open(found.files[1]) as picture:
        assert picture.size == (16, 12)
    assert found.words is None


def test_one_class_a_sample(make_artifact: MakeArtifact, image: Path) -> None:
    artifact = make_artifact({"type": "classification", "classes": 3, "names": ["hall", "room", "yard"]}, nodes=WHOLE)
    [found] = gn.predict(artifact, [image])
    probabilities = raw(artifact, image, None).softmax(1)[0]
    np.testing.assert_allclose(found.values, probabilities.numpy(), rtol=1e-4)
    best = int(probabilities.argmax())
    assert found.words is not None
    assert found.words.split(", ")[0] == f"{['hall', 'room', 'yard'][best]} {float(probabilities[best]):.2f}"
    assert found.to_dict()["values"] == found.values.tolist()
    assert found.files == ()


def test_several_classes_a_sample(make_artifact: MakeArtifact, image: Path) -> None:
    task = {"type": "classification", "classes": 4, "names": ["a", "b", "c", "d"], "multi_label": True}
    artifact = make_artifact(task, nodes=WHOLE)
    [found] = gn.predict(artifact, [image])
    marked = [name for name, logit in zip("abcd", raw(artifact, image, None)[0].tolist(), strict=True) if logit > 0]
    assert found.words == (", ".join(marked) or "(none of them)")


def test_what_was_resized_comes_back_at_its_own_size(make_artifact: MakeArtifact, image: Path, tmp_path: Path) -> None:
    with Image.open(image) as opened:
        opened.resize((40, 30)).save(tmp_path / "large.png")
    artifact = make_artifact({"type": "semantic_segmentation", "classes": 5}, transforms=({"resize": [12, 16]}, "horizontal_flip"))
    small, large = gn.predict(artifact, [image, tmp_path / "large.png"])
    assert (small.values.shape, large.values.shape) == ((12, 16), (30, 40))
    np.testing.assert_array_equal(small.values, raw(artifact, image).argmax(1)[0].numpy())


def test_a_run_stands_for_its_artifact(make_artifact: MakeArtifact, image: Path) -> None:
    artifact = make_artifact({"type": "depth"}, name="run/artifact")
    [one], [other] = gn.predict(artifact, [image]), gn.predict(artifact.parent, [image])
    np.testing.assert_array_equal(one.values, other.values)


def test_refusals(make_artifact: MakeArtifact, image: Path, tmp_path: Path) -> None:
    artifact = make_artifact({"type": "depth"})

    def message(*images: Path, of: Path = artifact) -> str:
        with pytest.raises((DataError, ArtifactError)) as caught:
            gn.predict(of, [*images], out=tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    (tmp_path / "broken.png").write_bytes(image.read_bytes()[:50])
    (tmp_path / "other").mkdir()
    assert message(image, tmp_path / "gone.png") == f"{tmp_path}/gone.png: can't be read: No such file or directory\n  fix: check the path"
    assert message(image, tmp_path / "notes.txt").startswith(f"{tmp_path}/notes.txt: is no image file\n  fix: one of bmp, jpeg, jpg, ")
    assert message(image, tmp_path / "broken.png").startswith(f"{tmp_path}/broken.png: corrupt image: ")
    assert message(image, tmp_path / "other" / "room.png") == (
        f"{image} and {tmp_path}/other/room.png would be written to the same files\n  fix: predict them in two calls, with an --out each"
    )
    assert message(image, of=tmp_path / "nowhere").startswith(f"{tmp_path}/nowhere: no such folder\n")
    description = json.loads((artifact / "spec.json").read_text())
    (artifact / "spec.json").write_text(json.dumps({**description, "task": None}))
    assert message(image) == (
        f"{artifact}/spec.json: does not say what its inputs and its task are\n  fix: predict with an artifact of graphnas search"
    )


def test_a_size_that_the_network_does_not_take(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    nodes = {"a": {"op": "conv2d", "out_channels": 4}, "b": {"op": "flatten"}, "c": {"op": "linear", "out_features": "$out_channels"}}
    artifact = make_artifact({"type": "classification", "classes": 3}, nodes=nodes)
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")
    with pytest.raises(DataError) as caught:
        gn.predict(artifact, [tmp_path / "small.png"])
    assert str(caught.value).startswith(f"{tmp_path}/small.png: the network does not take an image of 8 x 8 pixels: ")
    assert str(caught.value).endswith("\n  fix: an image of a size that it was evaluated at")
