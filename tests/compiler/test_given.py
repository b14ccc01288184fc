"""What is given from Python to record a module with: each mistake is told as one, with what to write."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

import graphnas as gn
from graphnas.errors import RecordError
from tests.builders import IMAGE, Chain


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        ("resnet18", {}, "a branch is recorded from a torch.nn.Module, got a str\n  fix: give the module itself"),
        (Chain, {}, "a branch is recorded from a torch.nn.Module, got a type\n  fix: give the module itself"),
        (
            Chain(),
            {"example": [IMAGE]},
            "an example is a tensor, or tensors by the names of the forward's arguments, got a list\n"
            "  fix: example=torch.zeros(2, 3, 64, 64), or example={'image': ...}",
        ),
        (
            Chain(),
            {"example": {"image": 1}},
            "an example is a tensor, or tensors by the names of the forward's arguments, got a dict\n"
            "  fix: example=torch.zeros(2, 3, 64, 64), or example={'image': ...}",
        ),
        (Chain(), {"example": {"imag": IMAGE}}, "Chain.forward takes no argument 'imag'\n  fix: did you mean 'image'?"),
        (
            Chain(),
            {"taps": ["a", "b"]},
            'taps are stages with globs, got a list\n  fix: taps={"s1": ["layer1.*"], "s2": ["layer2.*"]}',
        ),
        (
            Chain(),
            {"taps": {"s": {"match": "a", "clas": "Conv2d"}, "t": {"match": "b", "layout": "nhw"}}},
            "taps.s.clas: unknown field 'clas'\n  fix: did you mean 'class'?\n"
            "taps.t.layout: unknown value 'nhw'\n  fix: did you mean 'nhwc'?",
        ),
    ],
)  # fmt: skip
def test_what_is_no_module_example_or_tap(module: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError) as caught:
        gn.Branch.from_module(module, **{"taps": {"s": ["a", "b"]}, "example": IMAGE, **options})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("module", "example", "fix"),
    [
        (Chain().double(), IMAGE, "give an example that it takes: of torch.float64, as its parameters"),
        (Chain(), (IMAGE * 255).to(torch.uint8), "give an example that it takes: of torch.float32, as its parameters"),
        (
            timm.create_model("vit_tiny_patch16_224", img_size=(32, 48), depth=1),
            torch.rand(2, 3, 50, 70),
            "give an example that it takes: it says that it is for images of [32, 48] pixels",
        ),
    ],
)
def test_an_example_that_the_module_fails_on(module: torch.nn.Module, example: torch.Tensor, fix: str) -> None:
    with pytest.raises(RecordError) as caught:
        gn.Branch.from_module(module, taps={"s": "*"}, example=example)
    [problem] = caught.value.problems
    assert problem.message.startswith(f"{type(module).__name__} itself fails on the example ")
    assert problem.fix == fix
