"""``normalize: backbone``: what the networks' published weights expect, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

import graphnas as gn
from graphnas.data import open_data
from graphnas.errors import DataError, SpecError
from graphnas.runs.normalization import normalized
from graphnas.spec.task_pair import Normalization

IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HALVES = Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def encoder(**fields: Any) -> dict[str, Any]:
    return {
        "kind": "network",
        "inputs": {"image": "image[3, H, W]"},
        "nodes": {"encoder": {"inputs": "image", **fields}, "head": {"op": "linear_head", "out_channels": 2}},
        "outputs": {"prediction": "head"},
        "taps": {"s": "encoder"},
    }


RESNET = encoder(op="timm", model="test_resnet", num_classes=0)
VIT = encoder(op="timm", model="vit_tiny_patch16_224", num_classes=0)
TORCHVISION = encoder(op="torchvision", model="resnet18")
PLAIN = encoder(op="conv2d", out_channels=3)
NESTED = encoder(op="network", use={**TORCHVISION, "nodes": {"net": {"op": "torchvision", "model": "resnet18", "inputs": "image"}},
                                    "outputs": {"prediction": "net"}, "taps": {}})  # fmt: skip


def spec_of(networks: dict[str, Any], tasks: tuple[str, ...] = ("a", "b"), normalize: Any = "backbone") -> gn.SearchSpec:
    made = gn.parse_spec(
        {
            "kind": "search",
            "task_pair": {
                "primary": tasks[0],
                "sources": {"toy": {"layout": "python"}},
                "inputs": {"image": {"key": "image", "normalize": normalize}, "other": {"key": "image", "normalize": "none"}},
                "tasks": {task: {"type": "classification", "key": "class", "classes": 2} for task in tasks},
            },
            "networks": {task: {"use": found} for task, found in networks.items()},
            "space": "single-task",
            "training": {"steps": 1, "batch_size": 2, "optimizers": {"weights": {"type": "sgd", "lr": 1e-3}}},
        },
        kind="search",
    )
    assert isinstance(made, gn.SearchSpec)
    return made


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ({"a": TORCHVISION, "b": TORCHVISION}, IMAGENET),
        ({"a": VIT, "b": RESNET}, HALVES),
        ({"a": TORCHVISION, "b": PLAIN}, IMAGENET),  # trained from scratch: it takes what the other takes
        ({"a": NESTED, "b": PLAIN}, IMAGENET),
        ({"a": PLAIN, "b": encoder(op="vgg_encoder")}, IMAGENET),
        ({"a": TORCHVISION}, IMAGENET),  # another task's network is yet to be given
    ],
)
def test_taken_from_the_networks(networks: dict[str, Any], expected: Normalization) -> None:
    inputs = normalized(spec_of(networks), {}).task_pair.inputs
    assert inputs["image"].normalize == expected
    assert inputs["other"].normalize == "none"


def test_a_spec_that_says_something_else_is_left_alone() -> None:
    spec = spec_of({"a": VIT, "b": TORCHVISION}, normalize="imagenet")
    assert normalized(spec, {}) is spec


def test_a_module_of_timm_that_is_given() -> None:
    module = torch.nn.Sequential(timm.create_model("test_vit", num_classes=2))
    branch = gn.Branch.from_module(module, taps={"s": ["0"]}, example=torch.zeros(2, 3, 160, 160))
    assert normalized(spec_of({"b": PLAIN}), {"a": branch}).task_pair.inputs["image"].normalize == HALVES


def test_a_module_of_transformers_that_is_given(tmp_path: Path) -> None:
    config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=32)
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    ViTImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(tmp_path / "vit")
    module = ViTForImageClassification.from_pretrained(tmp_path / "vit")
    branch = gn.Branch.from_module(module, taps={"s": ["vit.embeddings"]}, example=torch.zeros(2, 3, 32, 32), output="logits")
    found = normalized(spec_of({"b": PLAIN}), {"a": branch}).task_pair.inputs["image"].normalize
    assert found == Normalization(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))


def test_what_can_not_be_fetched_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SpecError) as raised:
        normalized(spec_of({"a": encoder(op="smp", architecture="FPN", encoder="resnet18"), "b": TORCHVISION}), {})
    said, _, fix = str(raised.value).partition("\n")
    assert said.startswith(
        "inputs.image.normalize: how the network of 'a' expects its images to be normalized can't be found out: "
        "the config.json of smp-hub/resnet18.imagenet can't be fetched: "
    )
    assert fix == "  fix: normalize: imagenet, or {mean: [...], std: [...]}"


def test_networks_that_expect_different_things() -> None:
    with pytest.raises(SpecError) as raised:
        normalized(spec_of({"a": VIT, "b": TORCHVISION}), {})
    assert str(raised.value) == (
        "inputs.image.normalize: the networks expect images to be normalized in different ways: a {mean: [0.5, 0.5, 0.5], "
        "std: [0.5, 0.5, 0.5]}; b {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}\n"
        "  fix: normalize: imagenet, or {mean: [...], std: [...]}"
    )


def test_networks_that_expect_nothing() -> None:
    with pytest.raises(SpecError) as raised:
        normalized(spec_of({"a": PLAIN, "b": PLAIN}), {})
    assert str(raised.value) == (
        "inputs.image.normalize: no network says how it expects its images to be normalized\n"
        "  fix: normalize: imagenet, or {mean: [...], std: [...]}"
    )


def samples() -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    return [{"image": random.integers(0, 256, (32, 32, 3), dtype=np.uint8), "class": index % 2} for index in range(6)]


def test_a_task_pair_alone_does_not_know_its_backbone() -> None:
    with pytest.raises(DataError) as raised:
        open_data(spec_of({}, tasks=("a",)).task_pair, seed=0, datasets={"toy": samples()})
    assert str(raised.value) == (
        "inputs.image.normalize: what the backbone expects is known within a search\n  fix: imagenet, none, or {mean: [...], std: [...]}"
    )


def test_runs_and_artifacts_hold_the_numbers(tmp_path: Path) -> None:
    spec = spec_of({"a": RESNET}, tasks=("a",)).model_copy(update={"baseline": "none"})
    pair = spec.task_pair.model_copy(update={"inputs": {"image": spec.task_pair.inputs["image"]}})
    spec = spec.model_copy(update={"task_pair": pair})
    gn.search(spec, data={"toy": samples()}, out=tmp_path / "run")
    written = json.loads((tmp_path / "run" / "spec.json").read_text())
    assert written["task_pair"]["inputs"]["image"]["normalize"] == {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    about = json.loads((tmp_path / "run" / "artifact" / "spec.json").read_text())["task"]
    assert about["inputs"]["image"] == {"key": "image", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    assert gn.evaluate(tmp_path / "run", data={"toy": samples()}).split == "validation"
    gn.search(spec, data={"toy": samples()}, out=tmp_path / "run", resume=True)  # the same spec as the run's own
