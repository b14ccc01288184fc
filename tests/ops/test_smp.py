"""``smp``: networks, encoders and their weights; the package is optional."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

import graphnas as gn
from graphnas.graph.types import Image
from graphnas.ops import hf_hub
from graphnas.ops.base import TypeRuleError
from graphnas.ops.library import reported
from tests.ops.test_contract import build

TYPES = [Image(3, 32, 64)]
FPN: dict[str, Any] = {"architecture": "FPN", "encoder": "resnet18", "classes": 2}


def test_the_network_is_the_librarys_own() -> None:
    operation = build("smp", FPN)
    module, fresh = operation.build(TYPES).eval(), smp.FPN("resnet18", encoder_weights=None, classes=2).eval()
    assert list(module.state_dict()) == list(fresh.state_dict())
    fresh.load_state_dict(module.state_dict(), strict=True)
    image = torch.rand(2, 3, 32, 64)
    assert torch.equal(module(image), fresh(image))
    assert operation.infer(TYPES) == Image(2, 32, 64)


def test_the_librarys_other_head() -> None:
    fields = {**FPN, "aux_params": {"classes": 5}}
    assert str(build("smp", {**fields, "output": 0}).infer(TYPES)) == "image[2, 32, 64]"
    assert str(build("smp", {**fields, "output": 1}).infer(TYPES)) == "vector[5]"


def test_encoders_of_timm_take_timms_arguments() -> None:
    fields = {"architecture": "DPT", "encoder": "tu-vit_tiny_patch16_224", "img_size": [32, 64], "classes": 2}
    small = {"decoder_intermediate_channels": [4, 4, 4, 4], "decoder_fusion_channels": 4}
    assert build("smp", {**fields, **small}).infer(TYPES) == Image(2, 32, 64)


def test_what_its_images_are_normalized_by() -> None:
    assert build("smp", {**FPN, "encoder": "tu-resnet18"}).image_statistics == build("timm", {"model": "resnet18"}).image_statistics


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "input_space": "RGB", "input_range": [0, 1]},
            {((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))},
        ),
        ({"mean": [102, 51, 0], "std": [51, 51, 51], "input_range": [0, 255]}, {((0.4, 0.2, 0), (0.2, 0.2, 0.2))}),
        ({"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "input_space": "BGR"}, set()),
        ({"mean": 3}, set()),
    ],
)
def test_what_the_images_of_its_own_encoders_are_normalized_by(
    said: dict[str, Any], expected: set[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that the library's own ``get_preprocessing_params`` reads, as that says it is used."""
    asked: list[tuple[str, str, str]] = []

    def download(repository: str, filename: str, revision: str) -> str:
        asked.append((repository, filename, revision))
        (tmp_path / "config.json").write_text(json.dumps(said))
        return str(tmp_path / "config.json")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(hf_hub, "_fetched", hf_hub._fetched.__wrapped__)
    assert build("smp", FPN).image_statistics == expected
    settings = smp.encoders.encoders["resnet18"]["pretrained_settings"]["imagenet"]
    assert asked == [(settings["repo_id"], "config.json", settings["revision"])]
    if not expected:
        return
    monkeypatch.setattr(sys.modules[smp.encoders.get_preprocessing_params.__module__], "hf_hub_download", download)
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    [(mean, std)] = expected
    theirs = smp.encoders.get_preprocessing_fn("resnet18", pretrained="imagenet")(image)
    np.testing.assert_allclose((image / 255 - np.array(mean)) / np.array(std), theirs, rtol=1e-9, atol=1e-12)


def test_what_its_images_are_normalized_by_can_not_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TypeRuleError) as caught:
        _ = build("smp", FPN).image_statistics
    assert str(caught.value).startswith("the config.json of smp-hub/resnet18.imagenet can't be fetched: ")


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
def test_published_weights(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    original = smp.encoders.get_encoder

    def get_encoder(name: str, *, weights: Any, **options: Any) -> Any:
        asked.append((name, weights))
        return original(name, weights=None, **options)

    monkeypatch.setattr(sys.modules[smp.FPN.__module__], "get_encoder", get_encoder)
    operation = build("smp", {**FPN, "encoder": encoder, "pretrained": True})
    operation.infer(TYPES)
    assert {weights for _, weights in asked} <= {None}
    with reported() as lines:
        operation.build(TYPES)
    assert asked[-1] == (encoder, "imagenet" if encoder == "resnet18" else True)
    assert lines == [f"published weights of smp's FPN with {encoder}"]


def test_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TypeRuleError) as caught:
        build("smp", {**FPN, "pretrained": True}).build(TYPES)
    assert str(caught.value).startswith("the published weights of smp's FPN with resnet18 can't be fetched: ")
    assert (caught.value.field, caught.value.fix) == (
        "pretrained",
        "pretrained: false, or with it start_from: FILE.safetensors in the search's networks",
    )


def test_a_missing_package_is_named_at_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    file = tmp_path / "net.yaml"
    file.write_text(
        'kind: network\ninputs: {image: "image[3, H, W]"}\nnodes:\n  net: {op: smp, architecture: Unet, encoder: x}\noutputs: net\n'
    )
    with pytest.raises(gn.SpecError) as caught:
        gn.load_spec(file)
    assert str(caught.value) == f"{file}:4:13: nodes.net.op: smp needs segmentation-models-pytorch\n  fix: pip install graphnas[smp]"
    assert caught.value.exit_status == 2
