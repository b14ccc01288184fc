"""Published weights are asked for when a network is built, never while its types are inferred. Nothing is downloaded here."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.models import ResNet18_Weights

from graphnas.graph.types import Image
from tests.ops.test_contract import build


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
    operation.build([Image(3, 32, 32)])
    assert asked[-1]


def test_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    published = torchvision.models.resnet18(weights=None)
    asked: list[dict[str, Any]] = []

    def get_state_dict(_weights: ResNet18_Weights, **options: Any) -> dict[str, torch.Tensor]:
        asked.append(options)
        return published.state_dict()

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", get_state_dict)
    operation = build("torchvision", {"model": "resnet18", "pretrained": True})
    operation.infer([Image(3, 32, 32)])
    assert not asked
    module = operation.build([Image(3, 32, 32)])
    assert asked == [{"progress": False, "check_hash": True, "weights_only": True}]  # no code in a checkpoint is run
    assert torch.equal(module.state_dict()["fc.weight"], published.state_dict()["fc.weight"])
