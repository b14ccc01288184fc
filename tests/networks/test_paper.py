"""The networks of the Aux-NAS paper (arXiv:2405.05695): parameter counts, taps, sizes, and a search with each.

Counts are of all trainable parameters, norms and biases included, and without the classification layer: ``num_classes: 0``. What they are
compared with was counted once from the authors' public definitions, built without published weights:

- ViT-B/16: github.com/ethanygao/Aux-NAS, commit 6cae7d0, ``SingleTask`` with the arguments of ``configs/config_normal.json`` and
  ``config_seg.json``. Theirs keeps timm's classification layer, which it never runs; 90,893,067 and 90,894,288 in all.
- VGG-16: github.com/bhpfelix/MTLNAS, commit bf171b1, ``DeepLabLargeFOVBN16``; 20,493,251 and 20,531,176 in all.
- ResNet-50: no code of the authors is public. The backbone is timm's and torchvision's; the head is counted by hand.

Given the same weights, the first computed bit for bit what the authors' does, and so did the second where norms had their epsilon and pools
were padded at the end alone, as theirs are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from click.testing import CliRunner
from PIL import Image as Picture
from safetensors.torch import load_file
from torch import nn

import graphnas as gn
import graphnas.runs
from graphnas.cli.main import cli
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.graph.graph import Graph
from graphnas.graph.types import Image
from graphnas.runs import compile as compile_spec
from graphnas.spec import load_spec
from graphnas.spec.network import NetworkSpec

CLASSIFIER_VIT = 769_000  # 768 x 1000 + 1000
CONV_BIASES_VGG = 4_224  # 2 x 64 + 2 x 128 + 3 x 256 + 6 x 512: in published weights, but not in MTL-NAS

ROOT = Path(__file__).parents[2]
NETWORKS = ["resnet-deeplab", "vgg16-deeplab", "vit-reassemble"]
SMALL: dict[str, dict[str, Any]] = {
    "resnet-deeplab": {"model": "resnet10t", "pretrained": False},
    "vgg16-deeplab": {"channels": 8, "pretrained": False},
    "vit-reassemble": {"model": "vit_tiny_patch16_224", "channels": 8, "pretrained": False},
}
TAPS = {"resnet-deeplab": [1, 1, 1, 1], "vgg16-deeplab": [2, 2, 3, 3, 3], "vit-reassemble": [3, 3, 3, 3]}
SIDE = 32  # pixels


def network(name: str, **parameters: Any) -> NetworkSpec:
    spec = load_spec(name, kind="network")
    assert isinstance(spec, NetworkSpec)
    unfetched = {"pretrained": False} if "pretrained" in spec.parameters else {}
    return spec.bind({"out_channels": 3, **unfetched, **parameters})


def typed(name: str, size: tuple[int, int] = (224, 224), **parameters: Any) -> Graph:
    return infer(network(name, **parameters), {"image": Image(3, *size)})


def counts(name: str, out_channels: int) -> tuple[int, int]:
    """Parameters of backbone and head; there are no others."""
    graph = typed(name, out_channels=out_channels)
    backbone, head = graph.by_name["encoder"].parameters, graph.by_name["head"].parameters
    assert graph.parameters == backbone + head
    return backbone, head


def size_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(("out_channels", "backbone", "head"), [(3, 86_567_656, 4_325_411), (40, 86_567_656, 4_326_632)])
def test_vit_counts(out_channels: int, backbone: int, head: int) -> None:
    assert counts("vit-reassemble", out_channels) == (backbone - CLASSIFIER_VIT, head) == (85_798_656, head)
    with torch.device("meta"):
        assert size_of(timm.create_model("vit_base_patch16_224")) == backbone
        assert size_of(timm.create_model("vit_base_patch16_224", num_classes=0)) == 85_798_656


@pytest.mark.parametrize(("out_channels", "backbone", "head"), [(3, 14_718_912, 5_774_339), (40, 14_718_912, 5_812_264)])
def test_vgg_counts(out_channels: int, backbone: int, head: int) -> None:
    assert counts("vgg16-deeplab", out_channels) == (backbone + CONV_BIASES_VGG, head) == (14_723_136, head)
    with torch.device("meta"):
        libraries: list[Any] = [timm.create_model("vgg16_bn"), torchvision.models.get_model("vgg16_bn", init_weights=False)]
        assert [size_of(model.features) for model in libraries] == [14_723_136, 14_723_136]


@pytest.mark.parametrize("out_channels", [3, 40])
def test_resnet_counts(out_channels: int) -> None:
    head = 4 * (3 * 3 * 2048 * out_channels + out_channels)
    assert counts("resnet-deeplab", out_channels) == (23_508_032, head)
    with torch.device("meta"):
        assert size_of(timm.create_model("resnet50", num_classes=0)) == 23_508_032
        theirs: Any = torchvision.models.get_model("resnet50")
        assert size_of(theirs) - size_of(theirs.fc) == 23_508_032


@pytest.mark.parametrize(
    ("name", "key", "gone"),
    [("vit-reassemble", "vit_base_patch16_224", 2), ("resnet-deeplab", "resnet50", 2)],
)
def test_keys_are_those_of_published_weights(name: str, key: str, gone: int) -> None:
    """All but the classification's weight and bias fit, in name and shape."""
    spec = network(name)
    with torch.device("meta"):
        encoder: Any = spec.nodes["encoder"]
        ours, theirs = encoder.build([Image(3, 224, 224)]).state_dict(), timm.create_model(key).state_dict()
    fitting = [name for name, value in theirs.items() if name in ours and ours[name].shape == value.shape]
    assert fitting == list(ours)
    assert len(theirs) - len(fitting) == gone


def test_the_documented_counts() -> None:
    """docs/methods.md has a row for every shipped network, with its parameters at three channels."""
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| ([\d,]+) \+ ([\d,]+) \|$", (ROOT / "docs" / "methods.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(file.stem for file in (ROOT / "networks").glob("*.yaml"))
    for name, rest, head in rows:
        graph = typed(name)
        own = graph.by_name["head"].parameters
        assert (graph.parameters - own, own) == (int(rest.replace(",", "")), int(head.replace(",", ""))), name


@pytest.mark.parametrize("name", NETWORKS)
def test_published_weights_are_the_default(name: str) -> None:
    spec = load_spec(name, kind="network")
    assert isinstance(spec, NetworkSpec)
    encoder: Any = spec.bind({"out_channels": 3}).nodes["encoder"]
    assert encoder.pretrained


def test_resolutions() -> None:
    """CNNs work at an eighth of the image from their third stage on."""
    resnet, vgg = typed("resnet-deeplab", (321, 321)), typed("vgg16-deeplab", (321, 321))
    assert [str(graph.by_name["head"].type) for graph in (resnet, vgg)] == ["image[3, 41, 41]"] * 2  # as DeepLab's


@pytest.mark.parametrize("size", [(321, 321), (480, 640), (65, 97)])
@pytest.mark.parametrize("name", ["resnet-deeplab", "vgg16-deeplab"])
def test_convolutions_take_any_size(name: str, size: tuple[int, int]) -> None:
    graph = typed(name, size)
    assert graph.by_name[graph.outputs["prediction"]].type == Image(3, *size)


@pytest.mark.parametrize("size", [(224, 224), (480, 640), (240, 16)])
def test_the_transformer_takes_whole_patches(size: tuple[int, int]) -> None:
    graph = typed("vit-reassemble", size)
    assert graph.by_name[graph.outputs["prediction"]].type == Image(3, *size)


@pytest.mark.parametrize("name", NETWORKS)
def test_taps(name: str, compiled: dict[str, Compiled]) -> None:
    branch = compiled[name].net.recorded["normals"]
    found: dict[str, int] = {}
    for tap in branch.taps:
        found[tap.stage] = found.get(tap.stage, 0) + 1
    assert list(found) == [f"s{i + 1}" for i in range(len(TAPS[name]))]
    assert list(found.values()) == TAPS[name]


def test_taps_of_resnet_50() -> None:
    with torch.device("meta"):
        encoder: Any = timm.create_model("resnet50")
    assert [len(layer) for layer in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)] == [3, 4, 6, 3]


@pytest.mark.parametrize("name", NETWORKS)
def test_links_run_both_ways_within_stages(name: str, compiled: dict[str, Compiled]) -> None:
    """The published space: from tap j of a stage to taps j, j + 1 and j + 2 of it."""
    net = compiled[name].net
    each = sum(sum(1 for j in range(n) for i in range(n) if 0 <= i - j < 3) for n in TAPS[name])
    assert [sum(link.direction == direction for link in net.links) for direction in ("a2p", "p2a")] == [each, each]
    if name == "vit-reassemble":
        assert each == 24  # 12 taps of the authors, both ways
    assert all(net.recorded[end.task].graph.by_name[end.tap] for link in net.links for end in (link.source, link.destination))


@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_have_the_size_of_the_image(name: str, compiled: dict[str, Compiled]) -> None:
    net = compiled[name].net.eval()
    for size in ((SIDE, SIDE), (64, 48)):
        with torch.no_grad():
            out = net(torch.rand(1, 3, *size))
        assert {task: tuple(value.shape) for task, value in out.items()} == {"normals": (1, 3, *size), "segmentation": (1, 40, *size)}


def test_a_transformer_built_at_its_own_size_takes_others() -> None:
    """There, timm leaves the position embedding as it is, which must not be all that is recorded."""
    spec = load_spec("vit-reassemble", kind="network", overrides=[f"nodes.encoder.img_size={SIDE}"])
    assert isinstance(spec, NetworkSpec)
    small = spec.bind({"out_channels": 3, **SMALL["vit-reassemble"]})
    built: list[nn.Module] = []
    for size in ((SIDE, SIDE), (48, 80)):
        torch.manual_seed(0)
        built.append(lower(small, infer(small, {"image": Image(3, *size)})).eval())
    for size in ((SIDE, SIDE), (48, 80), (16, 64)):
        x = torch.rand(1, 3, *size)
        with torch.no_grad():
            own, other = (module(x) for module in built)
        assert torch.equal(own, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_compile_on_the_command_line(name: str, compiled: dict[str, Compiled]) -> None:
    said = compiled[name].said
    assert [(row["task"], row["role"], row["taps"]) for row in said["branches"]] == [
        ("normals", "primary", sum(TAPS[name])),
        ("segmentation", "auxiliary", sum(TAPS[name])),
    ]
    assert [row["converges_to"] for row in said["rules"]] == ["zero", "free"]
    parameters = typed(name, (SIDE, SIDE), **SMALL[name]).parameters
    assert (said["inference_parameters"], said["branches"][0]["parameters"]) == (parameters, parameters)


@pytest.mark.nightly
@pytest.mark.parametrize("name", NETWORKS)
def test_the_papers_search_in_small(name: str, nyuv2: Path, tmp_path: Path) -> None:
    """Single tasks first, then alternating steps; what is left is the single-task network, keys and costs."""
    spec = gn.parse_spec(search(name, nyuv2))
    assert isinstance(spec, gn.SearchSpec)
    result = gn.search(spec, out=tmp_path / "run")
    assert result.certificate.holds
    single, supernet, pruned = result.rows
    assert (single["macs"], single["parameters"]) == (pruned["macs"], pruned["parameters"])
    assert supernet["parameters"] > 2 * pruned["parameters"]
    fresh = lower(network(name, **SMALL[name]), typed(name, (SIDE, SIDE), **SMALL[name]))
    fresh.load_state_dict(load_file(tmp_path / "run" / "artifact" / "model.safetensors"), strict=True)


def search(name: str, root: Path) -> dict[str, Any]:
    """The paper's setting in small: published space, alternating updates, from single tasks that were trained alone first."""
    pair = load_spec("nyuv2-normals-segmentation", overrides=[f"sources.nyuv2.{split}={root}" for split in ("train", "test")])
    return {
        "kind": "search",
        "task_pair": {**pair.model_dump(mode="json", by_alias=True), "transforms": []},
        "networks": {"*": {"use": name, "parameters": SMALL[name]}},
        "space": "aux-nas",
        "start_from": "single-task",
        "training": {
            "steps": 2,
            "batch_size": 2,
            "updates": "alternate",
            "optimizers": {"weights": {"type": "adam", "lr": 1e-4}, "alphas": {"type": "adam", "lr": 1e-2}},
            "select": "last",
        },
        "runtime": {"device": "cpu"},
    }


@pytest.fixture(scope="module")
def nyuv2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four samples in the authors' layout, one side both of the images and of the labels."""
    root = tmp_path_factory.mktemp("nyuv2")
    random = np.random.default_rng(0)
    for folder, channels, top in (("img", 3, 256), ("seg", 0, 40), ("normal_mask", 3, 255)):
        (root / folder).mkdir()
        for number in range(10):
            shape = (SIDE, SIDE, channels) if channels else (SIDE, SIDE)
            Picture.fromarray(random.integers(0, top, shape, dtype=np.uint8)).save(root / folder / f"{number:04d}.png")
    return root


@dataclass
class Compiled:
    """What ``graphnas compile SEARCH --json`` printed, and the supernet that it made."""

    said: dict[str, Any]
    net: gn.Supernet


@pytest.fixture(scope="module")
def compiled(nyuv2: Path) -> dict[str, Compiled]:
    return {name: run_compile(name, nyuv2) for name in NETWORKS}


def run_compile(name: str, nyuv2: Path) -> Compiled:
    file = nyuv2 / f"{name}.json"
    file.write_text(json.dumps(search(name, nyuv2)))
    made: list[gn.Supernet] = []

    def kept(spec: gn.SearchSpec) -> gn.Supernet:
        made.append(compile_spec(spec))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphnas.runs, "compile", kept)
        result = CliRunner().invoke(cli, ["compile", str(file), "--json"])
    assert result.exit_code == 0, result.stderr
    return Compiled(json.loads(result.stdout), *made)
