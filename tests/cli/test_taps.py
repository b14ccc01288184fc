"""``graphnas taps``: the table, the tree, JSON, how a network is named, and refusals with their whole message."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphnas import registry

Run = Callable[..., tuple[int, str, str]]

PLUGIN = """
import torch
from torch import nn
import graphnas as gn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2, self.act = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()

    def forward(self, x):
        return self.act(self.conv2(self.act(self.conv1(x))) + x)

class Small(nn.Module):
    "A small network."

    def __init__(self, out_channels: int = 2):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 2, stride=2)
        self.blocks = nn.ModuleList([Block(4), Block(4)])
        self.pair = Pair()
        self.unused = nn.Conv2d(3, 4, 1)
        self.head = nn.Conv2d(4, out_channels, 1)

    def forward(self, image):
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        x, _ = self.pair(x)
        return self.head(x)

class Pair(nn.Module):
    def forward(self, x):
        return x.relu(), x.mean((2, 3))

gn.register_network("small-one", Small)
"""

LISTED = """\
small-one (Small) reads image: image[3, 32, 48]

taps
name             type               resolution   made by   stage
────────────────────────────────────────────────────────────────
stem             image[4, 16, 24]   1/2          Conv2d
blocks.0.conv1   image[4, 16, 24]   1/2          Conv2d
blocks.0.conv2   image[4, 16, 24]   1/2          Conv2d
blocks.0.add     image[4, 16, 24]   1/2          add()
blocks.0         image[4, 16, 24]   1/2          Block     s1
blocks.1.conv1   image[4, 16, 24]   1/2          Conv2d
blocks.1.conv2   image[4, 16, 24]   1/2          Conv2d
blocks.1.add     image[4, 16, 24]   1/2          add()
blocks.1         image[4, 16, 24]   1/2          Block     s2
head             image[2, 16, 24]   1/2          Conv2d

not as they are
name           made by      why
───────────────────────────────────────────────────────
blocks.0.act   ReLU         called 2 times
blocks.1.act   ReLU         called 2 times
pair           Pair         returns a tuple: output: 0 | 1
blocks         ModuleList   never called itself: blocks.*
unused         Conv2d       never called

stages: s1 of 1, s2 of 1
"""

TREE = """\
small-one (Small) reads image: image[3, 32, 48]

submodules and values
name      type               resolution   made by      stage   not as it is
────────────────────────────────────────────────────────────────────────────────────────────
stem      image[4, 16, 24]   1/2          Conv2d
blocks                                    ModuleList           never called itself: blocks.*
  0       image[4, 16, 24]   1/2          Block        s1
    conv1 image[4, 16, 24]   1/2          Conv2d
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder holds a plugin with a network."""
    (tmp_path / "small_one.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "small_one", raising=False)
    for entries in vars(registry).values():
        if isinstance(entries, registry.Registry):
            monkeypatch.setattr(entries, "_loaded", dict(entries._loaded))  # what it registers is forgotten


def columns(text: str) -> list[list[str]]:
    """Lines without the widths of their columns."""
    return [line.split() for line in text.splitlines() if line.strip("─ ")]


def test_a_registered_network(small: None, graphnas: Run) -> None:
    status, out, err = graphnas("taps", "small-one", "--input", "image=3x32x48", "--plugin", "small_one")
    assert (status, err) == (0, "")
    assert columns(out) == columns(LISTED)


def test_the_tree(small: None, graphnas: Run) -> None:
    status, out, err = graphnas("taps", "small-one", "--input", "image=3x32x48", "--tree", "--plugin", "small_one")
    assert (status, err) == (0, "")
    assert columns(out)[: len(columns(TREE))] == columns(TREE)
    names = [line[: line.index(" ", len(line) - len(line.lstrip()))] for line in out.splitlines()[5:-2] if line.strip()]
    assert names == [
        "stem", "blocks", "  0", "    conv1", "    conv2", "    add", "    act", "  1", "    conv1", "    conv2", "    add", "    act",
        "pair", "head", "unused",
    ]  # fmt: skip


def test_json(small: None, graphnas_json: Callable[..., Any]) -> None:
    said = graphnas_json("taps", "small-one", "--set", "out_channels=5", "--size", "32", "--plugin", "small_one")
    assert said["model"] == "small-one"
    assert said["inputs"] == {"image": "image[3, 32, 32]"}
    assert said["stages"] == {"s1": {"match": ["blocks.0"]}, "s2": {"match": ["blocks.1"]}}
    assert said["taps"][3] == {
        "name": "blocks.0.add",
        "made_by": "add",
        "function": True,
        "type": "image[4, 16, 16]",
        "layout": None,
        "resolution": "1/2",
        "stage": None,
    }
    assert said["taps"][-1]["type"] == "image[5, 16, 16]"
    assert [row["why"] for row in said["not_as_they_are"]][2] == "returns a tuple: output: 0 | 1"


@pytest.mark.parametrize(
    ("name", "label"), [("resnet18", "timm's"), ("timm:resnet18", "timm's"), ("torchvision:resnet18", "torchvision's")]
)
def test_networks_of_libraries(name: str, label: str, graphnas_json: Callable[..., Any]) -> None:
    said = graphnas_json("taps", name, "--size", "64")
    assert said["model"] == f"{label} resnet18"
    assert said["stages"] == {f"s{i}": {"match": [f"layer{i}.0", f"layer{i}.1"]} for i in (1, 2, 3, 4)}
    found = {row["name"]: row for row in said["taps"]}
    assert found["layer3.1.add"]["type"] == "image[256, 4, 4]"
    assert found["layer3.1.add"]["resolution"] == "1/16"
    assert found["layer3.1"]["stage"] == "s3"


def test_tokens_and_layouts(graphnas_json: Callable[..., Any]) -> None:
    vit = {row["name"]: row for row in graphnas_json("taps", "vit_tiny_patch16_224")["taps"]}
    assert (vit["blocks.4.add_1"]["type"], vit["blocks.4.add_1"]["resolution"]) == ("tokens[197, 192]", "1/16")
    swin = {row["name"]: row for row in graphnas_json("taps", "swin_tiny_patch4_window7_224")["taps"]}
    block = swin["layers.1.blocks.1"]
    assert (block["type"], block["layout"], block["resolution"], block["stage"]) == ("image[192, 28, 28]", "nhwc", "1/8", "s2")


def test_a_network_spec(folder: Path, graphnas_json: Callable[..., Any]) -> None:
    said = graphnas_json("taps", "network.yaml", "--set", "out_channels=3", "--size", "16")
    assert [(row["name"], row["stage"]) for row in said["taps"] if row["stage"]] == [("stem", "s1"), ("body", "s2")]
    assert said["inputs"] == {"image": "image[3, 16, 16]"}
    default = (folder / "network.yaml").read_text().replace("taps: {s1: stem, s2: body}", "taps: default")
    (folder / "default.yaml").write_text(default.replace("op: conv2d, out", "op: basic_block, out"))
    said = graphnas_json("taps", "default.yaml", "--size", "16")
    assert said["stages"] == {"s1": {"match": ["stem"]}, "s2": {"match": ["body"]}}


def test_a_shipped_network(graphnas_json: Callable[..., Any]) -> None:
    said = graphnas_json("taps", "small-resnet-fpn", "--size", "32")
    assert said["stages"] == {f"s{i}": {"match": [f"stage{i}"]} for i in (1, 2, 3, 4)}
    assert said["taps"][-1]["name"] == "head"


def test_no_stages_by_default(small: None, graphnas: Run, tmp_path: Path) -> None:
    (tmp_path / "plain_one.py").write_text(
        "from torch import nn\nimport graphnas as gn\ngn.register_network('plain-one', lambda: nn.Sequential(nn.Conv2d(3, 2, 1)))\n"
    )
    status, out, err = graphnas("taps", "plain-one", "--size", "8", "--plugin", "plain_one")
    assert (status, err) == (0, "")
    assert out.endswith("\nno stages are known by default: name taps\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet81"], "graphnas taps: unknown network 'resnet81'\n  fix: did you mean 'resnet18'?\n"),
        (["timm:resnet81"], "graphnas taps: timm has no model 'resnet81'\n  fix: did you mean 'resnet18'?\n"),
        (["torchvision:vgg61"], "graphnas taps: torchvision has no model 'vgg61'\n  fix: did you mean 'vgg19'?\n"),
        (["tim:resnet18"], "graphnas taps: unknown library 'tim'\n  fix: did you mean 'timm'?\n"),
        (["small-resnet-fpm"], "graphnas taps: unknown network 'small-resnet-fpm'\n  fix: did you mean 'small-resnet-fpn'?\n"),
        (
            ["aux-nas"],
            "graphnas taps: unknown network 'aux-nas'\n  fix: timm:NAME, torchvision:NAME, a registered network, or a network spec\n",
        ),
        (
            ["resnet18", "--set", "num_clases=3"],
            "--set num_clases: timm's resnet18 takes no 'num_clases'\n  fix: did you mean 'num_classes'?\n",
        ),
        (["resnet18", "--set", "num_classes"], "--set: expected FIELD=VALUE, got 'num_classes'\n  fix: --set training.epochs=3\n"),
        (
            ["small-resnet-fpn", "--set", "chanels=3"],
            "--set chanels: the network has no parameter 'chanels'\n  fix: did you mean 'channels'?\n",
        ),
        (
            ["vit_tiny_patch16_224", "--size", "100"],
            "graphnas taps: timm's vit_tiny_patch16_224 does not take x: image[3, 100, 100]:"
            " Input height (100) doesn't match model (224).\n"
            "  fix: it takes x: image[3, 224, 224], which is the default\n",
        ),
        (
            ["resnet18", "--size", "0"],
            "graphnas taps: invalid value for '--size': 0 is not in the range x>=1\n  fix: graphnas taps --help\n",
        ),
        (
            ["resnet18", "--input", "image=3xHxW"],
            "--input: expected NAME=TYPE with sizes that are numbers, got 'image=3xHxW'\n"
            "  fix: --input image=3x224x224, or --input ids=ids[16]\n",
        ),
        (
            ["small-resnet-fpn", "--input", "imag=3x32x32"],
            "--input imag: the network reads no 'imag'\n  fix: did you mean 'image'?\n",
        ),
        ([], "graphnas taps: MODEL is missing\n  fix: graphnas taps --help\n"),
    ],
)
def test_refusals(arguments: list[str], message: str, graphnas: Run) -> None:
    assert graphnas("taps", *arguments) == (2, "", message)
