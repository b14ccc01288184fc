"""Every shipped network, and the quickstart's: loaded, inferred, lowered, run at a size it was not built for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from graphnas.compiler.branch import Branch
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.graph.types import Image
from graphnas.spec import load_spec
from graphnas.spec.network import NetworkSpec

ROOT = Path(__file__).parents[2]
SMALL: dict[str, dict[str, Any]] = {
    "resnet-deeplab": {"model": "resnet18", "pretrained": False},
    "resnet-fpn": {"model": "resnet18", "pretrained": False, "channels": 16},
    "small-resnet-fpn": {"channels": 16},
    "vgg16-deeplab": {"pretrained": False, "channels": 16},
    "vit-dpt": {"model": "vit_tiny_patch16_224", "pretrained": False, "channels": 16},
    "vit-reassemble": {"model": "vit_tiny_patch16_224", "pretrained": False, "channels": 16},
}
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "resnet-classifier": {"model": "resnet18", "pretrained": False},
    "small-resnet-classifier": {},
    "vgg16-classifier": {"pretrained": False},
    "vit-classifier": {"model": "vit_tiny_patch16_224", "pretrained": False},
}
STAGES = {name: ["s1", "s2", "s3", "s4", "s5"] for name in ("vgg16-deeplab", "vgg16-classifier")}


def loaded(source: str | Path) -> NetworkSpec:
    spec = load_spec(source, kind="network")
    assert isinstance(spec, NetworkSpec)
    return spec


def named_taps(spec: NetworkSpec) -> dict[str, Any]:
    assert not isinstance(spec.taps, str)
    return dict(spec.taps)


def test_every_shipped_network_is_here() -> None:
    assert sorted(path.stem for path in (ROOT / "networks").glob("*.yaml")) == sorted([*SMALL, *CLASSIFIERS])


@pytest.mark.parametrize("name", SMALL)
def test_shipped(name: str) -> None:
    spec = loaded(name).bind({"out_channels": 5, **SMALL[name]})
    graph = infer(spec, {"image": Image(3, 64, 96)})
    assert str(graph.by_name[graph.outputs["prediction"]].type) == "image[5, 64, 96]"
    module = lower(spec, graph)
    branch = Branch.from_module(module, taps=named_taps(spec), example=torch.rand(2, 3, 64, 96), spec=spec)
    assert list(branch.graph.stages) == STAGES.get(name, ["s1", "s2", "s3", "s4"])
    assert not branch.fixed_size
    with torch.no_grad():
        assert module.eval()(torch.rand(1, 3, 128, 64)).shape == (1, 5, 128, 64)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_shipped_with_one_answer_an_image(name: str) -> None:
    spec = loaded(name).bind({"out_channels": 5, **CLASSIFIERS[name]})
    graph = infer(spec, {"image": Image(3, 64, 96)})
    assert str(graph.by_name[graph.outputs["prediction"]].type) == "vector[5]"
    module = lower(spec, graph)
    branch = Branch.from_module(module, taps=named_taps(spec), example=torch.rand(2, 3, 64, 96), spec=spec)
    assert list(branch.graph.stages) == STAGES.get(name, ["s1", "s2", "s3", "s4"])
    assert not branch.fixed_size
    with torch.no_grad():
        assert module.eval()(torch.rand(1, 3, 128, 64)).shape == (1, 5)


@pytest.mark.parametrize("name", [*SMALL, *CLASSIFIERS])
def test_shipped_parameters_are_described(name: str) -> None:
    parameters = loaded(name).parameters
    assert parameters["out_channels"].minimum == 1
    assert all(parameter.description for parameter in parameters.values())


def test_quickstart() -> None:
    spec = loaded(ROOT / "examples" / "quickstart" / "network.yaml").bind({"out_channels": 3})
    graph = infer(spec, {"image": Image(3, 48, 64)})
    assert graph.parameters <= 500_000
    assert str(graph.by_name["head"].type) == "image[3, 48, 64]"
    stages = ["stage1", "stage2", "stage3", "stage4"]
    assert [str(graph.by_name[name].type) for name in stages] == [
        "image[16, 48, 64]",
        "image[32, 24, 32]",
        "image[64, 12, 16]",
        "image[96, 6, 8]",
    ]
    branch = Branch.from_module(lower(spec, graph), taps=named_taps(spec), example=torch.rand(2, 3, 48, 64), spec=spec)
    assert [(tap.stage, tap.index, tap.name) for tap in branch.taps] == [
        ("s1", 0, "stage1"),
        ("s2", 0, "stage2"),
        ("s3", 0, "stage3"),
        ("s4", 0, "stage4"),
    ]
