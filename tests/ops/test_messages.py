"""What operations say about inputs and parameters that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from graphnas.graph.types import Ids, Image, Tokens, ValueType, Vector
from graphnas.ops.base import TypeRuleError
from tests.ops.test_contract import build

IMAGE, TOKENS, VECTOR = Image(6, 8, 12), Tokens(17, 8), Vector(5)


@pytest.mark.parametrize(
    ("name", "fields", "types", "message", "field", "fix"),
    [
        (
            "conv2d",
            {"out_channels": 4},
            [TOKENS],
            "conv2d reads image[C, H, W], got tokens[17, 8]",
            None,
            "put a node {op: to_image} before it",
        ),
        ("conv2d", {"out_channels": 4}, [Ids(3)], "conv2d reads image[C, H, W], got ids[3]", None, None),
        ("conv2d", {"out_channels": 4}, [IMAGE, IMAGE], "conv2d reads one value, got 2", None, "join them first, with add or concat"),
        (
            "conv2d",
            {"out_channels": 4, "groups": 4},
            [IMAGE],
            "6 input and 4 output channels do not divide into 4 groups",
            "groups",
            "a number that divides both",
        ),
        (
            "conv2d",
            {"out_channels": 4, "kernel_size": 9, "padding": 0},
            [IMAGE],
            "a window of [9, 9] does not fit image[6, 8, 12], [8, 12] with padding",
            "kernel_size",
            "a smaller kernel_size, or fewer strides before it",
        ),
        (
            "linear",
            {"out_features": 2},
            [IMAGE],
            "linear reads tokens[L, D] or vector[D], got image[6, 8, 12]",
            None,
            "put a node {op: global_avg_pool} before it, or use {op: conv2d, kernel_size: 1}",
        ),
        (
            "attention",
            {"heads": 2},
            [IMAGE],
            "attention reads tokens[L, D], got image[6, 8, 12]",
            None,
            "put a node {op: to_tokens} before it",
        ),
        ("attention", {"heads": 3}, [TOKENS], "tokens[17, 8] does not divide into 3 heads", "heads", "a divisor of 8"),
        (
            "batch_norm",
            {},
            [TOKENS],
            "batch_norm reads image[C, H, W] or vector[D], got tokens[17, 8]",
            None,
            "put a node {op: to_image} before it",
        ),
        ("group_norm", {"groups": 4}, [IMAGE], "6 channels do not divide into 4 groups", "groups", "a divisor of 6"),
        ("relu", {}, [Ids(4)], "relu reads image[C, H, W] or tokens[L, D] or vector[D], got ids[4]", None, None),
        ("max_pool2d", {"padding": 2}, [IMAGE], "padding 2 is more than half the kernel of 2", "padding", None),
        (
            "add",
            {},
            [IMAGE, Image(4, 8, 12)],
            "add reads values of one type, got image[6, 8, 12] and image[4, 8, 12]",
            None,
            "put a conv2d with out_channels: 6 before the second",
        ),
        (
            "add",
            {},
            [IMAGE, Image(6, 4, 6)],
            "add reads values of one type, got image[6, 8, 12] and image[6, 4, 6]",
            None,
            "resize the smaller with an upsample, or give both the same strides",
        ),
        (
            "add",
            {},
            [VECTOR, Vector(3)],
            "add reads values of one type, got vector[5] and vector[3]",
            None,
            "put a linear with out_features: 5 before the second",
        ),
        ("add", {}, [IMAGE, TOKENS], "add reads image[C, H, W], got tokens[17, 8]", None, "put a node {op: to_image} before it"),
        ("add", {}, [IMAGE], "add reads 2 values or more, got 1", None, "inputs: [NAME, NAME, ...]"),
        (
            "concat",
            {},
            [IMAGE, Image(4, 4, 6)],
            "concat reads values that differ in channels only, got image[6, 8, 12] and image[4, 4, 6]",
            None,
            "resize the smaller with an upsample, or give both the same strides",
        ),
        (
            "upsample",
            {},
            [IMAGE],
            "nothing tells upsample how large the result is",
            None,
            "scale: 2, or size: [H, W], or inputs: [IMAGE, IMAGE_OF_THAT_SIZE]",
        ),
        (
            "upsample",
            {"scale": 2},
            [IMAGE, IMAGE],
            "upsample is told more than once how large the result is",
            None,
            "scale: 2, or size: [H, W], or inputs: [IMAGE, IMAGE_OF_THAT_SIZE]",
        ),
        (
            "to_image",
            {},
            [TOKENS],
            "to_image reads tokens that stand for the patches of an image; the grid of tokens[17, 8] is unknown",
            None,
            "grid: [ROWS, COLUMNS]",
        ),
        ("to_image", {"grid": [5, 5]}, [TOKENS], "a grid of [5, 5] is more than the 17 tokens", "grid", None),
        (
            "patch_embed",
            {"width": 8, "patch_size": 5},
            [IMAGE],
            "image[6, 8, 12] does not divide into patches of 5 pixels",
            "patch_size",
            "a patch_size that divides both, or crop the images to multiples of it",
        ),
        ("bottleneck", {"out_channels": 8, "groups": 3}, [IMAGE], "a width of 2 does not divide into 3 groups", "groups", "a divisor of 2"),
        ("linear_head", {"out_channels": 2, "pool": "class_token"}, [IMAGE], "image[6, 8, 12] has no class token", "pool", "pool: mean"),
        (
            "dpt_head",
            {"out_channels": 2},
            [TOKENS],
            "dpt_head reads tokens that stand for the patches of an image; the grid of tokens[17, 8] is unknown",
            None,
            "read patch tokens of images",
        ),
        (
            "timm",
            {"model": "vit_tiny_patch16_224"},
            [Image(3, 32, 32)],
            "timm's vit_tiny_patch16_224 does not take image[3, 32, 32]: Input height (32) doesn't match model (224).",
            None,
            "images of [224, 224] pixels, by a resize or a random_crop in the task pair's transforms",
        ),
        (
            "torchvision",
            {"model": "fcn_resnet50", "output": "aux"},
            [Image(3, 32, 32)],
            "torchvision's fcn_resnet50 has no output 'aux'",
            "output",
            "one of out",
        ),
        (
            "timm",
            {"model": "resnet10t", "output": "logits"},
            [Image(3, 32, 32)],
            "timm's resnet10t returns one tensor, no output 'logits'",
            "output",
            "leave output out",
        ),
        (
            "smp",
            {"architecture": "Unet", "encoder": "resnet18", "aux_params": {"classes": 4}},
            [Image(3, 32, 32)],
            "smp's Unet with resnet18 returns several tensors: 0, 1",
            "output",
            "output: 0",
        ),
    ],
)
def test_inputs_that_do_not_fit(
    name: str, fields: dict[str, Any], types: list[ValueType], message: str, field: str | None, fix: str | None
) -> None:
    with pytest.raises(TypeRuleError) as caught:
        build(name, fields).infer(types)
    assert (str(caught.value), caught.value.field, caught.value.fix) == (message, field, fix)


@pytest.mark.parametrize(
    ("name", "fields", "loc", "message", "fix"),
    [
        ("conv2", {}, ("op",), "unknown operation 'conv2'", "did you mean 'conv2d'?"),
        ("conv2d", {}, (), "missing field 'out_channels'", "out_channels: 64"),
        ("conv2d", {"out_channels": "4"}, ("out_channels",), "Input should be a valid integer", None),
        ("conv2d", {"out_channels": 4, "kernel": 3}, ("kernel",), "unknown field 'kernel'", "did you mean 'kernel_size'?"),
        ("conv2d", {"out_channels": 4, "kernel_size": 0}, ("kernel_size",), "must be 1 or more, got 0", None),
        (
            "conv2d",
            {"out_channels": 4, "stride": [1, 2, 3]},
            ("stride",),
            "must be a whole number or two, [rows, columns], got [1, 2, 3]",
            None,
        ),
        ("conv2d", {"out_channels": 4, "padding": 1.5}, ("padding",), "must be a whole number or two, [rows, columns], got 1.5", None),
        ("dropout", {"p": 1.5}, ("p",), "Input should be less than or equal to 1", None),
        ("upsample", {"scale": 2, "size": 3}, (), "upsample has a scale and a size", "give one of them"),
        (
            "mlp",
            {"hidden_features": 2, "activation": "rely"},
            ("activation",),
            "Input should be 'relu', 'gelu', 'silu', 'tanh' or 'none'",
            None,
        ),
        ("timm", {"model": "resnet19"}, ("model",), "timm has no model 'resnet19'", "did you mean 'resnet18'?"),
        (
            "timm",
            {"model": "resnet18", "num_clases": 3},
            ("num_clases",),
            "timm's resnet18 takes no 'num_clases'",
            "did you mean 'num_classes'?",
        ),
        (
            "timm",
            {"model": "resnet18", "pretraind": True},
            ("pretraind",),
            "timm's resnet18 takes no 'pretraind'",
            "did you mean 'pretrained'?",
        ),
        (
            "timm",
            {"model": "resnet18", "checkpoint_path": "x.pth"},
            ("checkpoint_path",),
            "timm's resnet18 takes no 'checkpoint_path' here",
            "pretrained: true, or start_from of the search",
        ),
        (
            "timm",
            {"model": "convnext_tiny", "depths": "a"},
            (),
            "timm's convnext_tiny can't be made: unsupported operand type(s) for +: 'int' and 'str'",
            None,
        ),
        ("conv2d", {"out_channels": 4, "inputs": {"x": "a"}}, ("inputs",), "it reads values in order, not by name", "inputs: [a]"),
        (
            "timm",
            {"model": "botnet50ts_256", "pretrained": True},
            ("pretrained",),
            "there are no published weights of timm's botnet50ts_256",
            "pretrained: false",
        ),
        (
            "smp",
            {"architecture": "Uent", "encoder": "resnet18"},
            ("architecture",),
            "smp has no architecture 'Uent'",
            "did you mean 'Unet'?",
        ),
        ("smp", {"architecture": "Unet", "encoder": "resnet19"}, ("encoder",), "smp has no encoder 'resnet19'", "did you mean 'resnet18'?"),
        (
            "smp",
            {"architecture": "Unet", "encoder": "tu-resnet19"},
            ("encoder",),
            "smp has no encoder 'tu-resnet19'",
            "did you mean 'tu-resnet18'?",
        ),
        (
            "smp",
            {"architecture": "Unet", "encoder": "resnet18", "clases": 3},
            ("clases",),
            "smp's Unet with resnet18 takes no 'clases'",
            "did you mean 'classes'?",
        ),
        (
            "smp",
            {"architecture": "Unet", "encoder": "resnet18", "encoder_weights": "imagenet"},
            ("encoder_weights",),
            "smp's Unet with resnet18 takes no 'encoder_weights' here",
            "pretrained: true, or start_from of the search",
        ),
        (
            "smp",
            {"architecture": "FPN", "encoder": "resnet18", "encoder_depth": 9},
            (),
            "smp's FPN with resnet18 can't be made: ResNetEncoder depth should be in range [1, 5], got 9",
            None,
        ),
        ("torchvision", {"model": "resnet81"}, ("model",), "torchvision has no model 'resnet81'", "did you mean 'resnet18'?"),
        (
            "torchvision",
            {"model": "mobilenet_v3_small", "num_clas": 3},
            ("num_clas",),
            "torchvision's mobilenet_v3_small takes no 'num_clas'",
            "did you mean 'num_classes'?",
        ),
    ],
)
def test_bad_parameters(name: str, fields: dict[str, Any], loc: tuple[str, ...], message: str, fix: str | None) -> None:
    with pytest.raises(ValidationError) as caught:
        build(name, fields)
    [error] = caught.value.errors()
    assert (error["loc"], error["msg"], error.get("ctx", {}).get("fix")) == (("node", *loc), message, fix)
