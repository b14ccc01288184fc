"""A network is built for whole images; that it does not take the crops of training is said before it starts, at the network's line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import graphnas as gn
from graphnas.errors import SpecError
from tests.runs.conftest import SEARCH, changed, make_samples

PATCHES = """\
kind: network
parameters: {out_channels: integer}
inputs: {image: "image[3, H, W]"}
nodes:
  patches: {op: patch_embed, width: 8, patch_size: 4}
  image_of_patches: {op: to_image, inputs: [patches, image]}
  act: relu
  head: {op: conv2d, out_channels: $out_channels}
  resized: {op: upsample, inputs: [head, image]}
outputs: {prediction: resized}
taps: {s1: image_of_patches, s2: act}
"""
TIMM = """\
kind: network
parameters: {out_channels: integer}
inputs: {image: "image[3, H, W]"}
nodes:
  encoder: {op: timm, model: vit_tiny_patch16_224, img_size: [12, 16], patch_size: 4, depth: 2, num_classes: 0, dynamic_img_size: true}
  image_of_patches: {op: to_image, inputs: [encoder.blocks.1, image]}
  head: {op: conv2d, out_channels: $out_channels}
  resized: {op: upsample, inputs: [head, image]}
outputs: {prediction: resized}
taps: {s1: "encoder.blocks.*"}
"""


def compiled(text: str, transforms: list[Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> gn.Supernet:
    monkeypatch.chdir(folder)
    Path("network.yaml").write_text(text)
    spec = gn.parse_spec(changed(SEARCH, {"networks": {"*": "network.yaml"}, "task_pair.transforms": transforms}))
    assert isinstance(spec, gn.SearchSpec)
    return gn.compile(spec, data={"toy": make_samples(12)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            PATCHES,
            "network.yaml:5:52: nodes.patches.patch_size: image[3, 10, 12] does not divide into patches of 4 pixels"
            " (in training, of random_crop: [10, 12])\n  fix: a patch_size that divides both, or crop the images to multiples of it",
        ),
        (
            TIMM,
            "network.yaml:5:12: nodes.encoder.inputs: timm's vit_tiny_patch16_224 does not take image[3, 10, 12]: Input height (10)"
            " should be divisible by patch size (4). (in training, of random_crop: [10, 12])\n"
            "  fix: images of [8, 12] pixels, by a resize or a random_crop in the task pair's transforms",
        ),
    ],
)
def test_crops_that_a_network_does_not_take(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once for both tasks, which share the file."""
    with pytest.raises(SpecError) as caught:
        compiled(text, [{"random_crop": [10, 12]}, "horizontal_flip"], tmp_path, monkeypatch)
    assert str(caught.value) == message
    assert capsys.readouterr() == ("", "")  # sizes are tried without a sound


@pytest.mark.parametrize(
    "transforms",
    [
        [],
        [{"random_crop": [8, 12]}],
        [{"random_crop": [10, 13]}, {"resize": [12, 12]}],
        [{"resize": [8, 8]}],
        [{"random_scale": [1.0, 1.5]}, {"random_crop": [4, 8]}, "horizontal_flip"],
    ],
)
def test_crops_that_it_takes(transforms: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = compiled(PATCHES, transforms, tmp_path, monkeypatch)
    assert len(net.links) == 2 * len(net.recorded)
