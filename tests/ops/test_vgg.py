"""``vgg_encoder`` is the libraries' VGG, and with a smaller stride the same function on a finer grid."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.testing import assert_close
from torchvision.models import VGG11_BN_Weights

from graphnas.graph.types import Image, Tokens, ValueType
from graphnas.ops.base import TypeRuleError
from tests.ops.test_contract import build


def of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items() if key.startswith("features.")}


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_keys_are_the_libraries(depth: int, batch_norm: bool) -> None:
    name = f"vgg{depth}{'_bn' if batch_norm else ''}"
    operation = build("vgg_encoder", {"depth": depth, "batch_norm": batch_norm})
    with torch.device("meta"):
        ours = operation.build([Image(3, 32, 32)])
        assert list(of(ours).items()) == list(of(torchvision.models.get_model(name, init_weights=False)).items())
        assert list(of(ours).items()) == list(of(timm.create_model(name)).items())
    assert len(of(ours)) == len(ours.state_dict())


@pytest.mark.parametrize("batch_norm", [False, True])
def test_it_computes_what_the_library_computes(batch_norm: bool) -> None:
    with torch.device("meta"):
        theirs: Any = torchvision.models.get_model("vgg11_bn" if batch_norm else "vgg11", init_weights=False)
    ours = build("vgg_encoder", {"depth": 11, "batch_norm": batch_norm}).build([Image(3, 40, 33)])
    theirs.features.load_state_dict({key.removeprefix("features."): value for key, value in ours.state_dict().items()}, assign=True)
    x = torch.randn(2, 3, 40, 33)
    for training in (True, False):
        with torch.no_grad():
            assert torch.equal(ours.train(training)(x), theirs.features.train(training)(x))


@pytest.mark.parametrize(("finer", "coarser"), [(8, 16), (16, 32)])
def test_dilation_is_the_same_function_at_every_pixel(finer: int, coarser: int) -> None:
    """Before the last pool, every second row and column of the finer result is the coarser one."""
    built: dict[int, Any] = {}
    for stride in (finer, coarser):
        torch.manual_seed(0)
        built[stride] = build("vgg_encoder", {"depth": 11, "output_stride": stride, "pool_size": 3}).build([Image(3, 65, 83)]).eval()
    x = torch.randn(1, 3, 65, 83)
    with torch.no_grad():
        fine, coarse = (built[stride].features[:-1](x) for stride in (finer, coarser))
    if coarser == 32:  # here it is the last pool that keeps the resolution
        assert torch.equal(fine, coarse)
    else:
        assert_close(fine[:, :, ::2, ::2], coarse)


@pytest.mark.parametrize(
    ("fields", "size", "expected"),
    [
        ({}, (224, 321), (7, 10)),
        ({"output_stride": 16}, (224, 321), (14, 20)),
        ({"output_stride": 8}, (224, 321), (28, 40)),
        ({"output_stride": 8, "pool_size": 3}, (224, 321), (28, 41)),
        ({"output_stride": 8, "pool_size": 3}, (1, 2), (1, 1)),
    ],
)
def test_resolution(fields: dict[str, Any], size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert build("vgg_encoder", fields).infer([Image(3, *size)]) == Image(512, *expected)


def test_published_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for when the network is built, without code in the checkpoint being run; those of the classification are left."""
    operation = build("vgg_encoder", {"depth": 11, "pretrained": True})
    published = {**build("vgg_encoder", {"depth": 11}).build([Image(3, 32, 32)]).state_dict(), "classifier.0.weight": torch.zeros(1)}
    asked: list[dict[str, Any]] = []

    def get_state_dict(_weights: VGG11_BN_Weights, **options: Any) -> dict[str, torch.Tensor]:
        asked.append(options)
        return published

    monkeypatch.setattr(VGG11_BN_Weights, "get_state_dict", get_state_dict)
    operation.infer([Image(3, 32, 32)])
    assert asked == []
    state = operation.build([Image(3, 32, 32)]).state_dict()
    assert asked == [{"progress": False, "check_hash": True, "weights_only": True}]
    assert all(torch.equal(value, published[key]) for key, value in state.items())


@pytest.mark.parametrize(
    ("fields", "value", "message", "fix"),
    [
        ({}, Image(4, 32, 32), "VGG-16 reads image[3, H, W], got image[4, 32, 32]", "put a conv2d with out_channels: 3 before it"),
        ({"depth": 11}, Image(3, 64, 31), "image[3, 64, 31] has nothing left at a stride of 32 pixels", "larger images, or pool_size: 3"),
        ({}, Tokens(4, 3, 0, (2, 2)), "vgg_encoder reads image[C, H, W], got tokens[4, 3]", "put a node {op: to_image} before it"),
    ],
)
def test_inputs_that_do_not_fit(fields: dict[str, Any], value: ValueType, message: str, fix: str) -> None:
    with pytest.raises(TypeRuleError) as caught:
        build("vgg_encoder", fields).infer([value])
    assert (str(caught.value), caught.value.fix) == (message, fix)
