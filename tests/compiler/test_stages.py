"""Stages by default: from how a network is built, for networks of every kind."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler.build import spec_branch
from graphnas.compiler.calls import run_log
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.compiler.stages import default_taps
from graphnas.errors import RecordError
from graphnas.graph.types import Image
from graphnas.spec import parse_spec
from tests.builders import IMAGE, INTO, OUT, conv, image, randomize, space


def stages(module: nn.Module, size: int) -> dict[str, str]:
    """The best choice of stages, each as `first .. last (number) [output] [layout]`."""
    device = next(module.parameters()).device
    arguments = {"x": torch.zeros(2, 3, size, size, device=device)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        choices = default_taps(module, run_log(module.eval(), arguments), arguments)
    found: dict[str, str] = {}
    for stage, tap in choices[0].items():
        part = "" if tap.output is None else f" output {tap.output}"
        found[stage] = f"{tap.match[0]} .. {tap.match[-1]} ({len(tap.match)}){part}{f' {tap.layout}' if tap.layout else ''}"
    return found


def meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


TIMM: dict[str, tuple[int, dict[str, str]]] = {
    "resnet18d": (
        224,
        {
            "s1": "layer1.0 .. layer1.1 (2)",
            "s2": "layer2.0 .. layer2.1 (2)",
            "s3": "layer3.0 .. layer3.1 (2)",
            "s4": "layer4.0 .. layer4.1 (2)",
        },
    ),
    "vgg13": (
        224,
        {
            "s1": "features.1 .. features.3 (2)",
            "s2": "features.6 .. features.8 (2)",
            "s3": "features.11 .. features.13 (2)",
            "s4": "features.16 .. features.18 (2)",
            "s5": "features.21 .. features.23 (2)",
        },
    ),
    "vit_tiny_patch16_224": (
        224,
        {
            "s1": "blocks.0 .. blocks.2 (3)",
            "s2": "blocks.3 .. blocks.5 (3)",
            "s3": "blocks.6 .. blocks.8 (3)",
            "s4": "blocks.9 .. blocks.11 (3)",
        },
    ),
    "densenet121": (224, {f"s{i}": f"features.denseblock{i} .. features.denseblock{i} (1)" for i in (1, 2, 3, 4)}),
    "mobilenetv3_small_050": (
        224,
        {
            "s1": "blocks.0.0 .. blocks.0.0 (1)",
            "s2": "blocks.1.0 .. blocks.1.1 (2)",
            "s3": "blocks.2.0 .. blocks.3.1 (5)",
            "s4": "blocks.4.0 .. blocks.4.2 (3)",
        },
    ),
    "convnext_atto": (
        224,
        {
            "s1": "stages.0.blocks.0 .. stages.0.blocks.1 (2)",
            "s2": "stages.1.blocks.0 .. stages.1.blocks.1 (2)",
            "s3": "stages.2.blocks.0 .. stages.2.blocks.5 (6)",
            "s4": "stages.3.blocks.0 .. stages.3.blocks.1 (2)",
        },
    ),
    "swin_tiny_patch4_window7_224": (
        224,
        {
            "s1": "layers.0.blocks.0 .. layers.0.blocks.1 (2) nhwc",
            "s2": "layers.1.blocks.0 .. layers.1.blocks.1 (2) nhwc",
            "s3": "layers.2.blocks.0 .. layers.2.blocks.5 (6) nhwc",
            "s4": "layers.3.blocks.0 .. layers.3.blocks.1 (2) nhwc",
        },
    ),
    "regnety_002": (
        224,
        {"s1": "s1.b1 .. s1.b1 (1)", "s2": "s2.b1 .. s2.b1 (1)", "s3": "s3.b1 .. s3.b4 (4)", "s4": "s4.b1 .. s4.b7 (7)"},
    ),
    "hiera_tiny_224": (
        224,
        {
            "s1": "blocks.0 .. blocks.0 (1)",
            "s2": "blocks.1 .. blocks.2 (2)",
            "s3": "blocks.3 .. blocks.9 (7)",
            "s4": "blocks.10 .. blocks.11 (2)",
        },
    ),
    "mvitv2_tiny": (
        224,
        {
            "s1": "stages.0.blocks.0 .. stages.0.blocks.0 (1) output 0",
            "s2": "stages.1.blocks.0 .. stages.1.blocks.1 (2) output 0",
            "s3": "stages.2.blocks.0 .. stages.2.blocks.4 (5) output 0",
            "s4": "stages.3.blocks.0 .. stages.3.blocks.1 (2) output 0",
        },
    ),
    "inception_v3": (
        299,
        {"s1": "Mixed_5b .. Mixed_5d (3)", "s2": "Mixed_6a .. Mixed_6e (5)", "s3": "Mixed_7a .. Mixed_7c (3)"},
    ),
    "fastvit_t8": (
        256,
        {
            "s1": "stages.0.blocks.0 .. stages.0.blocks.1 (2)",
            "s2": "stages.1.blocks.0 .. stages.1.blocks.1 (2)",
            "s3": "stages.2.blocks.0 .. stages.2.blocks.3 (4)",
            "s4": "stages.3.blocks.0 .. stages.3.blocks.1 (2)",
        },
    ),
    "resnest14d": (224, {f"s{i}": f"layer{i}.0 .. layer{i}.0 (1)" for i in (1, 2, 3, 4)}),
}


@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm(name: str) -> None:
    size, expected = TIMM[name]
    assert stages(meta(lambda: timm.create_model(name)), size) == expected


def test_ends_of_stages_are_those_that_timm_names() -> None:
    """``feature_info`` names the last module of each resolution, where the network has several."""
    for name in ("resnet18", "convnext_atto", "efficientnet_b0", "swin_tiny_patch4_window7_224", "vgg11_bn", "regnety_002", "pvt_v2_b0"):
        module = meta(lambda name=name: timm.create_model(name))
        config: Any = module.default_cfg
        size = int(config["input_size"][-1])
        arguments = {"x": torch.zeros(2, 3, size, size, device="meta")}
        [choice, *_] = default_taps(module, run_log(module.eval(), arguments), arguments)
        told = {info["module"].replace("_", ".") for info in module.feature_info}  # pyright: ignore[reportGeneralTypeIssues]
        ends = [tap.match[-1] for tap in choice.values()]
        assert all(any(f"{end}.".startswith(f"{module}.") for module in told) for end in ends), (name, ends, told)


def test_networks_of_torchvision() -> None:
    models = torchvision.models
    assert stages(meta(lambda: models.vit_b_32(weights=None)), 224)["s2"] == (
        "encoder.layers.encoder_layer_3 .. encoder.layers.encoder_layer_5 (3)"
    )
    assert stages(meta(lambda: models.swin_t(weights=None)), 224)["s3"] == "features.5.0 .. features.5.5 (6) nhwc"
    assert stages(meta(lambda: models.mobilenet_v2(weights=None)), 224) == {
        "s1": "features.1 .. features.1 (1)",
        "s2": "features.2 .. features.3 (2)",
        "s3": "features.4 .. features.6 (3)",
        "s4": "features.7 .. features.13 (7)",
        "s5": "features.14 .. features.17 (4)",
    }
    dilated = meta(lambda: models.segmentation.fcn_resnet50(weights=None, weights_backbone=None))
    assert stages(dilated, 224) == {
        f"s{i}": f"backbone.layer{i}.0 .. backbone.layer{i}.{n - 1} ({n})" for i, n in enumerate((3, 4, 6, 3), 1)
    }


def test_the_encoder_of_a_network_with_a_decoder() -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    for build in (smp.Unet, smp.FPN, smp.DeepLabV3Plus, smp.UPerNet):
        found = stages(meta(lambda build=build: build("resnet18", encoder_weights=None)), 224)
        assert found == {f"s{i}": f"encoder.layer{i}.0 .. encoder.layer{i}.1 (2)" for i in (1, 2, 3, 4)}
    assert stages(meta(lambda: smp.Unet("vgg11", encoder_weights=None)), 224)["s3"] == "encoder.features.7 .. encoder.features.9 (2)"


def test_networks_of_hugging_face() -> None:
    hf = pytest.importorskip("transformers")
    config = hf.ViTConfig(image_size=32, patch_size=16, hidden_size=24, intermediate_size=48, num_hidden_layers=6, num_attention_heads=2)
    prefix = {"s1": 0, "s2": 2, "s3": 3, "s4": 4}
    found = stages(Renamed(hf.ViTForImageClassification(config)), 32)
    assert [found[stage].split(" ")[0].rpartition(".")[2] for stage in found] == [str(first) for first in prefix.values()]
    bert = hf.BertModel(hf.BertConfig(vocab_size=30, hidden_size=24, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2))
    arguments = {"input_ids": torch.ones(2, 5, dtype=torch.long)}
    [choice, *_] = default_taps(bert, run_log(bert.eval(), arguments), arguments)
    assert [tap.match for tap in choice.values()] == [(f"encoder.layer.{i}",) for i in range(4)]


class Renamed(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).logits


# -- branches


SMALL: dict[str, tuple[Callable[[], nn.Module], list[int]]] = {
    "timm resnet18": (lambda: timm.create_model("resnet18", num_classes=5), [2, 2, 2, 2]),
    "timm vit": (lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, depth=6, num_classes=5), [2, 1, 1, 2]),
    "timm mvit": (lambda: timm.create_model("mvitv2_tiny", img_size=64, num_classes=5), [1, 2, 5, 2]),
    "torchvision swin": (
        lambda: torchvision.models.SwinTransformer([4, 4], 12, [2, 2], [1, 2], [4, 4], num_classes=5),
        [2, 2],
    ),
    "timm densenet": (lambda: timm.create_model("densenet121", block_config=(2, 2), growth_rate=8, num_classes=5), [1, 1]),
    "torchvision vgg": (lambda: torchvision.models.vgg.make_layers([8, "M", 16, 16, "M"], batch_norm=True), [1, 2]),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_branch_without_taps(name: str) -> None:
    build, sizes = SMALL[name]
    x = image(2, 3, 64, 64)
    branches = {task: gn.Branch.from_module(build(), example=x) for task in ("p", "q")}
    assert [len(taps) for taps in branches["p"].graph.stages.values()] == sizes
    net = randomize(gn.weave(branches, primary="p", space=space(INTO, OUT)).eval())
    module = branches["p"].module.eval()
    assert not torch.equal(net(x)["p"], module(x))
    pruned = gn.prune(net, force=True)
    assert pruned.certificate.holds
    assert torch.equal(pruned.module(x), module(x))
    fresh = build()
    fresh.load_state_dict(pruned.module.state_dict(), strict=True)
    again = gn.Branch.from_module(fresh, taps=branches["p"].requested, example=x)  # what was found can be asked for
    assert [tap.name for tap in again.taps] == [tap.name for tap in branches["p"].taps]


class Guarded(nn.Module):
    """A stage whose own code no graph can hold."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Residual(width), Residual(width)])
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x) if bool(x.abs().sum() >= 0) else x
        return self.down(x)


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = conv(width, width), conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x).relu())


def test_stages_as_a_whole_where_their_code_cannot_be_recorded() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), Guarded(4), Guarded(8), nn.Conv2d(16, 2, 1))
    branch = gn.Branch.from_module(module, example=image(2, 3, 8, 8))
    assert {stage: [tap.name for tap in taps] for stage, taps in branch.graph.stages.items()} == {"s1": ["1"], "s2": ["2"]}


def test_no_default() -> None:
    with pytest.raises(RecordError) as caught:
        gn.Branch.from_module(conv(), example=IMAGE)
    assert str(caught.value) == (
        "no stages are known by default for Conv2d: nothing in it looks like blocks in a row\n"
        "  fix: name taps; `graphnas taps MODEL` lists what can be tapped"
    )


# -- networks of specs


def lowered(nodes: dict[str, Any], **more: Any) -> gn.Branch:
    last = list(nodes)[-1]
    network = parse_spec(
        {"kind": "network", "inputs": {"image": "image[3, H, W]"}, "nodes": nodes, "outputs": last, "taps": "default", **more}
    ).bind({})
    graph = infer(network, {"image": Image(3, 64, 64)})
    return spec_branch(network, graph, lower(network, graph))


def test_default_in_a_network_spec() -> None:
    encoder: dict[str, Any] = {"op": "timm", "inputs": "image", "model": "resnet18", "num_classes": 0}
    head = {"op": "fpn_head", "inputs": [f"encoder.layer{i}" for i in (1, 2, 3, 4)], "channels": 8, "out_channels": 2}
    branch = lowered({"encoder": encoder, "head": head})
    assert {stage: [tap.name for tap in taps] for stage, taps in branch.graph.stages.items()} == {
        f"s{i}": [f"encoder.layer{i}.0", f"encoder.layer{i}.1"] for i in (1, 2, 3, 4)
    }
    spelled_out = {
        "stem": {"op": "conv2d", "out_channels": 8},
        **{f"stage{i}": {"op": "basic_block", "out_channels": 8 * i, "stride": 2} for i in (1, 2, 3)},
        "head": {"op": "fpn_head", "inputs": ["stage1", "stage2", "stage3"], "channels": 8, "out_channels": 2},
    }
    branch = lowered(spelled_out)
    assert {stage: [tap.name for tap in taps] for stage, taps in branch.graph.stages.items()} == {f"s{i}": [f"stage{i}"] for i in (1, 2, 3)}


def test_no_default_in_a_network_spec() -> None:
    with pytest.raises(RecordError) as caught:
        lowered({"a": {"op": "conv2d", "out_channels": 2}, "b": {"op": "conv2d", "out_channels": 2}})
    assert str(caught.value) == (
        "taps: no stages are known by default for GraphModule: nothing in it looks like blocks in a row\n"
        "  fix: name taps; `graphnas taps MODEL` lists what can be tapped"
    )
