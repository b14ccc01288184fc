"""``timm`` and ``torchvision``: weights are fetched when a network is built, not when it is checked; what they do to the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights
from torchvision.models.segmentation import FCN_ResNet50_Weights

import graphnas as gn
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.graph.types import Image, Vector
from graphnas.ops.base import TypeRuleError
from graphnas.ops.library import reported
from graphnas.ops.opaque import without_published_weights
from graphnas.spec import parse_spec
from tests.ops.test_contract import build

FIX = "pretrained: false, or with it start_from: FILE.safetensors in the search's networks"


def publish(monkeypatch: pytest.MonkeyPatch, weights: Any, state: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Let torchvision have these weights; returns what it is asked for."""
    asked: list[dict[str, Any]] = []

    def get_state_dict(_weights: Any, **options: Any) -> dict[str, Tensor]:
        asked.append(options)
        return state

    monkeypatch.setattr(weights, "get_state_dict", get_state_dict)
    return asked


def test_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    real = timm.create_model

    def recorded(model: str, *, pretrained: bool = False, **arguments: Any) -> nn.Module:
        asked.append(pretrained)
        return real(model, **arguments)

    monkeypatch.setattr(timm, "create_model", recorded)
    operation = build("timm", {"model": "resnet10t", "pretrained": True, "num_classes": 7})
    assert str(operation.infer([Image(3, 32, 32)])) == "vector[7]"
    assert not any(asked)
    with without_published_weights():
        operation.build([Image(3, 32, 32)])
    assert not any(asked)
    with reported() as lines:
        operation.build([Image(3, 32, 32)])
    assert asked[-1]
    assert lines == ["published weights of timm's resnet10t; new: fc.weight, fc.bias"]


def test_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    published = torchvision.models.resnet18(weights=None)
    asked = publish(monkeypatch, ResNet18_Weights, published.state_dict())
    operation = build("torchvision", {"model": "resnet18", "pretrained": True})
    operation.infer([Image(3, 32, 32)])
    assert not asked
    module = operation.build([Image(3, 32, 32)])
    assert asked == [{"progress": False, "check_hash": True, "weights_only": True}]  # no code in a checkpoint is run
    assert torch.equal(module.state_dict()["fc.weight"], published.state_dict()["fc.weight"])


def test_another_number_of_classes_makes_a_new_head(monkeypatch: pytest.MonkeyPatch) -> None:
    published = torchvision.models.resnet18(weights=None)
    publish(monkeypatch, ResNet18_Weights, published.state_dict())
    operation = build("torchvision", {"model": "resnet18", "pretrained": True, "num_classes": 5})
    with reported() as lines:
        module = operation.build([Image(3, 32, 32)])
    assert lines == ["published weights of torchvision's resnet18; new: fc.weight, fc.bias"]
    assert module.state_dict()["fc.weight"].shape == (5, 512)
    assert torch.equal(module.state_dict()["conv1.weight"], published.state_dict()["conv1.weight"])


def test_weights_with_an_auxiliary_classifier_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    published = torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True)
    publish(monkeypatch, FCN_ResNet50_Weights, published.state_dict())
    module = build("torchvision", {"model": "fcn_resnet50", "pretrained": True}).build([Image(3, 32, 32)])
    assert not any(name.startswith("aux") for name in module.state_dict())
    assert all(torch.equal(value, published.state_dict()[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(("pretrained", "scaled"), [(True, True), (False, False)])
def test_networks_that_scale_colors_on_their_own_do_so_with_their_weights(pretrained: bool, scaled: bool) -> None:
    operation = build("torchvision", {"model": "googlenet", "pretrained": pretrained, "init_weights": False})
    with without_published_weights():  # also when the network is built again for an artifact
        assert operation.build([Image(3, 64, 64)]).transform_input is scaled


def test_weights_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()
    publish(monkeypatch, ResNet18_Weights, {**{k: v for k, v in state.items() if k != "bn1.bias"}, "more": state["bn1.bias"]})
    with pytest.raises(TypeRuleError) as caught:
        build("torchvision", {"model": "resnet18", "pretrained": True}).build([Image(3, 32, 32)])
    assert (str(caught.value), caught.value.field, caught.value.fix) == (
        "the published weights of torchvision's resnet18 can't be loaded: 2 names that do not fit: bn1.bias, more",
        "pretrained",
        FIX,
    )


def test_the_size_of_published_weights_is_taken_unless_another_is_given() -> None:
    operation = build("torchvision", {"model": "vit_h_14", "pretrained": True})
    assert operation.infer([Image(3, 518, 518)]) == Vector(1000)


def test_without_a_connection_the_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_args: Any, **_options: Any) -> dict[str, Tensor]:
        raise URLError("Name or service not known")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", unreachable)
    text = {"kind": "network", "inputs": {"image": "image[3, H, W]"}, "outputs": {"prediction": "net"}}
    spec = parse_spec({**text, "nodes": {"net": {"op": "torchvision", "model": "resnet18", "pretrained": True}}}, kind="network")
    assert isinstance(spec, gn.NetworkSpec)
    with pytest.raises(gn.SpecError) as caught:
        lower(spec, infer(spec, {"image": Image(3, 32, 32)}))
    assert str(caught.value) == (
        "nodes.net.pretrained: the published weights of torchvision's resnet18 can't be fetched: "
        f"<urlopen error Name or service not known>\n  fix: {FIX}"
    )


def test_timm_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TypeRuleError) as caught:
        build("timm", {"model": "resnet10t", "pretrained": True}).build([Image(3, 32, 32)])
    assert str(caught.value).startswith("the published weights of timm's resnet10t can't be fetched: ")
    assert (caught.value.field, caught.value.fix) == ("pretrained", FIX)
