"""Prefix tokens, patch grids and layouts of the libraries' networks, as recorded modules; and what taps name where none is known."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn

import graphnas as gn
from graphnas.errors import RecordError, SpecError
from graphnas.graph.types import Image, Tokens, ValueType
from graphnas.ops.grid import as_ordered, image_of
from tests.builders import OUT, image, space

BLOCKS: dict[str, Any] = {"s": "blocks.*"}
SMALL: dict[str, Any] = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "image_size": (64, 96), "patch_size": 16,
}  # fmt: skip


def vit(model: str, size: Any = (64, 96), **options: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(model, num_classes=5, img_size=size, depth=2, embed_dim=24, num_heads=2, **options)


def hf(name: str, **options: Any) -> Callable[[], nn.Module]:
    return hierarchical(name, **{**SMALL, **options})


def hierarchical(name: str, **options: Any) -> Callable[[], nn.Module]:
    known: Any = transformers
    return lambda: getattr(known, f"{name}Model")(getattr(known, f"{name}Config")(**options))


def tokens(prefix: int, rows: int, columns: int, width: int = 24) -> ValueType:
    return Tokens(prefix + rows * columns, width, prefix, (rows, columns))


RECORDED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], list[tuple[ValueType, bool]]]] = {
    "timm ViT": (vit("vit_tiny_patch16_224"), BLOCKS, [(tokens(1, 4, 6), False)] * 2),
    "timm ViT without class token": (
        vit("vit_tiny_patch16_224", class_token=False, global_pool="avg"), BLOCKS, [(tokens(0, 4, 6), False)] * 2),
    "timm ViT, dynamic size": (vit("vit_tiny_patch16_224", 224, dynamic_img_size=True), {"s": ["patch_embed", "blocks.1"]},
                               [(Image(24, 4, 6), True), (tokens(1, 4, 6), False)]),
    "timm ViT with registers": (vit("vit_small_patch16_dinov3"), BLOCKS, [(tokens(5, 4, 6), False)] * 2),
    "timm DeiT, distilled": (vit("deit_tiny_distilled_patch16_224"), BLOCKS, [(tokens(2, 4, 6), False)] * 2),
    "timm BEiT": (vit("beit_base_patch16_224"), BLOCKS, [(tokens(1, 4, 6), False)] * 2),
    "timm CaiT: blocks see the patches alone": (vit("cait_xxs24_224"), {"s": ["blocks.0", "blocks_token_only.0"]},
                                                [(tokens(0, 4, 6), False), (Tokens(1, 24), False)]),
    "timm CoaT, square: a class token a scale": (
        lambda: timm.create_model("coat_lite_tiny", img_size=64, num_classes=5), {"s": "serial_blocks[12].0"},
        [(tokens(1, 16, 16, 64), False), (tokens(1, 8, 8, 128), False)]),
    "timm Mixer": (lambda: timm.create_model("mixer_s32_224", img_size=(64, 96), num_classes=5), {"s": "blocks.0"},
                   [(tokens(0, 2, 3, 512), False)]),
    "timm Swin": (
        lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=(64, 96), embed_dim=24, depths=(1, 1), num_heads=(2, 2)),
        {"s": ["patch_embed.proj", "patch_embed", "layers.*.blocks.*", "layers.0.blocks.0.mlp.fc1"]},
        [(Image(24, 16, 24), False), (Image(24, 16, 24), True), (tokens(0, 16, 24, 96), False), (Image(24, 16, 24), True),
         (Image(48, 8, 12), True)]),
    "timm PVT: tokens inside, images outside": (
        lambda: timm.create_model("pvt_v2_b0", num_classes=5), {"s": ["stages.0.blocks.0", "stages.1"]},
        [(tokens(0, 16, 24, 32), False), (Image(64, 8, 12), False)]),
    "timm ConvNeXt: channels last inside a block": (
        lambda: timm.create_model("convnext_tiny", num_classes=5, depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
        {"s": ["stages.0.blocks.0.conv_dw", "stages.0.blocks.0.norm", "stages.0.blocks.0.mlp.fc1", "stages.1"]},
        [(Image(8, 16, 24), False), (Image(8, 16, 24), True), (Image(32, 16, 24), True), (Image(16, 8, 12), False)]),
    "timm VOLO": (lambda: timm.create_model("volo_d1_224", img_size=(64, 96), num_classes=5), {"s": "network.[02]"},
                  [(Image(192, 8, 12), True), (Image(384, 4, 6), True)]),
    "timm CrossViT: two branches, each with a class token of its own": (
        lambda: timm.create_model("crossvit_tiny_240", num_classes=5), {"s": ["blocks.0.blocks.0.0", "blocks.0.blocks.1.0"]},
        [(tokens(1, 20, 20, 96), False), (tokens(1, 14, 14, 192), False)]),
    "torchvision ViT, square": (lambda: torchvision.models.VisionTransformer(64, 16, 2, 2, 24, 48), {"s": "encoder.layers.*"},
                        [(tokens(1, 4, 4), False)] * 2),
    "torchvision Swin": (
        lambda: torchvision.models.SwinTransformer([4, 4], 24, [1, 1], [2, 2], [4, 4]),
        {"s": ["features.0.0", "features.*", "norm", "permute"]},
        [(Image(24, 16, 24), False), *[(Image(24, 16, 24), True)] * 2, *[(Image(48, 8, 12), True)] * 3, (Image(48, 8, 12), False)]),
    "Hugging Face ViT": (hf("ViT"), {"s": "layers.*"}, [(tokens(1, 4, 6), False)] * 2),
    "Hugging Face DINOv2, square": (hf("Dinov2", image_size=64), {"s": "**.layer.*"}, [(tokens(1, 4, 4), False)] * 2),
    "Hugging Face DINOv2 with registers, square": (
        hf("Dinov2WithRegisters", image_size=64), {"s": "**.layer.*"}, [(tokens(5, 4, 4), False)] * 2),
    "Hugging Face DeiT": (hf("DeiT"), {"s": "layers.*"}, [(tokens(2, 4, 6), False)] * 2),
    "Hugging Face BEiT": (hf("Beit"), {"s": "layers.*"}, [(tokens(1, 4, 6), False)] * 2),
    "Hugging Face Swin": (
        hierarchical("Swin", image_size=(64, 96), embed_dim=24, depths=[1, 1], num_heads=[2, 2], window_size=4),
        {"s": {"match": "encoder.layers.*.blocks.*", "output": 0}}, [(tokens(0, 16, 24), False), (tokens(0, 8, 12, 48), False)]),
    "Hugging Face Segformer": (
        hierarchical("Segformer", hidden_sizes=[8, 16, 24, 32], num_attention_heads=[1, 1, 2, 2]),
        {"s": "stages.*.layer_norm"},
        [(tokens(0, 16, 24, 8), False), (tokens(0, 8, 12, 16), False), (tokens(0, 4, 6, 24), False), (tokens(0, 2, 3, 32), False)]),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_what_the_libraries_networks_tell(name: str) -> None:
    make, taps, expected = RECORDED[name]
    module = make()
    size = (64, 64) if "square" in name else (64, 96)
    branch = gn.Branch.from_module(
        module, taps=taps, example=image(2, 3, *size), output="last_hidden_state" if name.startswith("Hugging") else None
    )
    assert [(tap.type, tap.channels_last) for tap in branch.taps] == expected


class Unusual(nn.Module):
    """Patches of 8 x 8 pixels, cut without a convolution, and two learned tokens in front that bear a name of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.mine = nn.Parameter(torch.randn(1, 2, 6))
        self.cut = nn.Linear(3 * 8 * 8, 6)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.head = nn.Linear(6, 4)

    def forward(self, image: Tensor) -> Tensor:
        n, c, h, w = image.shape
        patches = image.reshape(n, c, h // 8, 8, w // 8, 8).permute(0, 2, 4, 1, 3, 5).reshape(n, (h // 8) * (w // 8), c * 64)
        x = torch.cat([self.mine.expand(n, 2, 6), self.cut(patches)], 1)
        return self.head(self.block(x).mean(1))


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 5, 8, stride=8)
        self.head = nn.Conv2d(5, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.body(image))


def unusual(**tap: Any) -> gn.Branch:
    return gn.Branch.from_module(Unusual(), taps={"s": {"match": "block", **tap}}, example=image(2, 3, 16, 24))


def convolutional() -> gn.Branch:
    return gn.Branch.from_module(Convolutional(), taps={"s": "body"}, example=image(2, 3, 16, 24))


def test_a_link_that_needs_a_grid_asks_for_it() -> None:
    with pytest.raises(SpecError) as caught:
        gn.weave({"p": convolutional(), "q": unusual()}, primary="p", space=space(OUT))
    assert str(caught.value) == (
        "links[0].operations: p:body->q:block: the patch grid of tokens[8, 6] is unknown\n"
        "  fix: name it at the tap: prefix: TOKENS, grid: [ROWS, COLUMNS]"
    )


@pytest.mark.parametrize("tap", [{"prefix": 2, "grid": [2, 3]}, {"grid": [2, 3]}])
def test_a_tap_names_its_patches(tap: dict[str, Any]) -> None:
    net = gn.weave({"p": convolutional(), "q": unusual(**tap)}, primary="p", space=space(OUT))
    weight = net.link_operations["p:body->q:block"]["conv1x1"].get_parameter("weight")
    torch.nn.init.normal_(weight)
    x = image(2, 3, 16, 24)
    p, q = net.recorded["p"].module, net.recorded["q"].module
    assert isinstance(p, Convolutional)
    assert isinstance(q, Unusual)
    own = torch.tanh(q.block[0](torch.cat([q.mine.expand(2, 2, 6), q.cut(_patches(x))], 1)))
    arrived = torch.einsum("nchw,oc->nhwo", p.body(x), weight * net.gates()["p:body->q:block"]).flatten(1, 2)
    torch.testing.assert_close(gn.tap_values(net, x)["q", "block"], own + torch.cat([torch.zeros(2, 2, 6), arrived], 1))


def _patches(x: Tensor) -> Tensor:
    return torch.stack([x[:, :, i : i + 8, j : j + 8].flatten(1) for i in range(0, x.shape[2], 8) for j in range(0, x.shape[3], 8)], 1)


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Flatten(2), nn.Unflatten(2, (16, 24)))
        self.last = Turned()
        self.head = nn.Linear(5, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.last(self.body(image)))


class Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


TAPS_REFUSED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "a grid of other tokens": (
        Unusual, {"match": "block", "grid": [3, 3]},
        "tap 'block': a grid of [3, 3] makes 9 tokens, there are 8\n  fix: prefix + ROWS * COLUMNS must be 8"),
    "a grid and a prefix of other tokens": (
        Unusual, {"match": "block", "prefix": 1, "grid": [2, 3]},
        "tap 'block': a grid of [2, 3] and 1 prefix tokens makes 7 tokens, there are 8\n  fix: prefix + ROWS * COLUMNS must be 8"),
    "a prefix alone": (
        Unusual, {"match": "block", "prefix": 2},
        "tap 'block': tokens[8, 6] less 2 prefix tokens is no square of patches\n"
        "  fix: name the patches too: {prefix: 2, grid: [ROWS, COLUMNS]}"),
    "a prefix of everything": (
        Unusual, {"match": "block", "prefix": 8},
        "tap 'block': tokens[8, 6] less 8 prefix tokens is no square of patches\n"
        "  fix: name the patches too: {prefix: 8, grid: [ROWS, COLUMNS]}"),
    "a layout of tokens": (Unusual, {"match": "block", "layout": "nhwc"},
                           "tap 'block': tokens[8, 6] has no layout\n  fix: leave layout out"),
    "patches of an image": (Convolutional, {"match": "body", "prefix": 1},
                            "tap 'body': image[5, 2, 3] has no patches\n  fix: leave prefix and grid out"),
    "what looks channels last": (
        ChannelsLast, {"match": "last"},
        "tap 'last': sizes [16, 24, 5] have the proportions of the input only if the channels come last\n"
        "  fix: layout: nhwc; or layout: nchw, if they do come first"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAPS_REFUSED)
def test_taps_that_name_what_is_not_there(name: str) -> None:
    make, tap, expected = TAPS_REFUSED[name]
    with pytest.raises(RecordError) as caught:
        gn.Branch.from_module(make(), taps={"s": tap}, example=image(2, 3, 16, 24))
    assert str(caught.value) == expected


@pytest.mark.parametrize(("layout", "expected"), [("nhwc", (Image(5, 16, 24), True)), ("nchw", (Image(16, 24, 5), False))])
def test_a_tap_names_its_layout(layout: str, expected: tuple[ValueType, bool]) -> None:
    branch = gn.Branch.from_module(ChannelsLast(), taps={"s": {"match": "last", "layout": layout}}, example=image(2, 3, 16, 24))
    assert [(tap.type, tap.channels_last) for tap in branch.taps] == [expected]


def test_a_square_of_patches_follows_from_the_prefix() -> None:
    branch = gn.Branch.from_module(Unusual(), taps={"s": {"match": "block", "prefix": 2}}, example=image(2, 3, 16, 16))
    assert branch.taps[0].type == Tokens(6, 6, 2, (2, 2))


def test_the_order_of_hieras_tokens() -> None:
    """Tokens that hold their own row and column: rolled back they lie row by row, at the start and after a pooling of two by two."""
    module: Any = timm.create_model("hiera_tiny_224", img_size=(64, 96), num_classes=5)
    branch = gn.Branch.from_module(module, taps={"s": ["blocks.[0-2]", "blocks.0.norm1"]}, example=image(2, 3, 64, 96))
    types = {tap.name: tap.type for tap in branch.taps}
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(24), indexing="ij")
    tokens = module.unroll(torch.stack([rows, columns], -1).flatten(0, 1)[None].float())
    pooled = tokens.view(1, 4, -1, 2).amax(1)  # as its first block of a stage does
    for name, value, step in (("blocks.0", tokens, 1), ("blocks.0.norm1", tokens, 1), ("blocks.1", pooled, 2), ("blocks.2", pooled, 2)):
        of = types[name]
        assert isinstance(of, Tokens)
        found = image_of(value, of)
        assert torch.equal(found[0, 0], rows[step - 1 :: step, step - 1 :: step].float())
        assert torch.equal(found[0, 1], columns[step - 1 :: step, step - 1 :: step].float())
        assert torch.equal(as_ordered(found.flatten(2).transpose(1, 2), of), value)


def test_the_order_of_hieras_tokens_in_transformers() -> None:
    """As above: the first layer of a stage pools, and the other layers keep what it made."""
    transformers = pytest.importorskip("transformers")
    hiera: Any = importlib.import_module("transformers.models.hiera.modeling_hiera")
    config = transformers.HieraConfig(
        embed_dim=8, image_size=[64, 96], depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], mlp_ratio=1.0, num_labels=3
    )
    module = transformers.HieraForImageClassification(config)
    branch = gn.Branch.from_module(module, example=image(2, 3, 64, 96))
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(24), indexing="ij")
    tokens = hiera.unroll(torch.stack([rows, columns], -1).flatten(0, 1)[None].float(), [64, 96], [4, 4], [[2, 2]] * 3)
    steps = [1, 2, 4, 4, 8]
    assert [tap.name for tap in branch.taps] == [
        f"hiera.encoder.stages.{i}.layers.{j}" for i, j in ((0, 0), (1, 0), (2, 0), (2, 1), (3, 0))
    ]
    for tap, step in zip(branch.taps, steps, strict=True):
        pooled = tokens
        for _ in range(step.bit_length() - 1):
            pooled = pooled.view(1, 4, -1, 2).amax(1)
        assert isinstance(tap.type, Tokens)
        assert tap.type.grid == (16 // step, 24 // step)
        found = image_of(pooled, tap.type)
        assert torch.equal(found[0, 0], rows[step - 1 :: step, step - 1 :: step].float())
        assert torch.equal(found[0, 1], columns[step - 1 :: step, step - 1 :: step].float())
