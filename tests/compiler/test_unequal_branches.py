"""Branches of other families, depths, widths and resolutions: the links' values against eager networks whose hooks add what arrives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from torch import Tensor, nn

import graphnas as gn
from tests.builders import image, randomize

Sizes = tuple[tuple[int, int], ...]
WIDE: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 48}
QUARTERS = {"match": "blocks.*", "split": [1, 1, 1, 1]}
LAYERS = {f"s{i}": f"layer{i}.*" for i in (1, 2, 3, 4)}
STAGES = {f"s{i}": f"stages.{i - 1}" for i in (1, 2, 3, 4)}


@dataclass(frozen=True)
class Form:
    """How the values at a network's taps are turned into images (N, C, H, W), written down here by hand.

    Args:
        kind: ``tokens`` of patches, ``image``, ``nhwc``, or ``plain`` for values that are mapped as they are.
        prefix: Class and register tokens.
        patch: Pixels of a patch.
    """

    kind: str
    prefix: int = 0
    patch: int = 1

    def to_image(self, value: Tensor, size: tuple[int, int]) -> Tensor:
        if self.kind == "nhwc":
            return value.permute(0, 3, 1, 2)
        if self.kind == "image":
            return value
        rows, columns = size[0] // self.patch, size[1] // self.patch
        return torch.stack([value[:, self.prefix + r * columns : self.prefix + (r + 1) * columns] for r in range(rows)], 1).permute(
            0, 3, 1, 2
        )

    def back(self, arrived: Tensor, value: Tensor) -> Tensor:
        if self.kind == "nhwc":
            return arrived.permute(0, 2, 3, 1)
        if self.kind == "image":
            return arrived
        rows = [arrived[:, :, r].transpose(1, 2) for r in range(arrived.shape[2])]
        return torch.cat([torch.zeros_like(value[:, : self.prefix]), *rows], 1)


@dataclass(frozen=True)
class Net:
    """A network and where its links go; ``sizes`` are image sizes that it also works at."""

    make: Callable[[], nn.Module]
    taps: Mapping[str, Any]
    form: Form
    input: str = "x"
    output: str | None = None
    sizes: Sizes = ()
    example: Callable[..., Tensor] = field(default=lambda *size: image(2, 3, *size).double())


OTHERS: Sizes = ((96, 64), (32, 96), (32, 32), (96, 96))


def timm_vit(registers: int = 0, patch: int = 16, sizes: Sizes = OTHERS) -> Net:
    def make() -> nn.Module:
        return timm.create_model(  # of an image size that none is used with, or its position embedding would stay as it is
            "vit_tiny_patch16_224", num_classes=5, img_size=8 * patch, dynamic_img_size=True, patch_size=patch, reg_tokens=registers,
            depth=4, embed_dim=24, num_heads=2,
        )  # fmt: skip

    return Net(make, {"s": QUARTERS}, Form("tokens", 1 + registers, patch), sizes=sizes)


def resnet() -> Net:
    return Net(lambda: timm.create_model("test_resnet", num_classes=5), LAYERS, Form("image"), sizes=OTHERS)


def swin() -> Net:
    def make() -> nn.Module:
        return timm.create_model(
            "swin_tiny_patch4_window7_224",
            num_classes=5,
            img_size=64,
            strict_img_size=False,
            embed_dim=24,
            depths=(1, 1, 1, 1),
            num_heads=(2,) * 4,
        )

    return Net(make, {f"s{i}": f"layers.{i - 1}" for i in (1, 2, 3, 4)}, Form("nhwc"))


def convnext() -> Net:
    def make() -> nn.Module:
        return timm.create_model("convnext_atto", num_classes=5, depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))

    return Net(make, STAGES, Form("image"), sizes=OTHERS)


def vgg() -> Net:
    def make() -> nn.Module:
        layers = torchvision.models.vgg.make_layers([8, "M", 12, "M", 16, 16, "M", 24, 24, "M"], batch_norm=True)
        return nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5))

    taps = {f"s{i}": f"0.{k}" for i, k in enumerate((2, 6, 13, 20), 1)}  # the ReLU in front of each pool
    return Net(make, taps, Form("image"), input="input")


def hf_vit() -> Net:
    def make() -> nn.Module:
        return transformers.ViTForImageClassification(transformers.ViTConfig(**WIDE, image_size=64, patch_size=16))

    return Net(make, {"s": {"match": "**.layers.*", "split": [1, 1, 1, 1]}}, Form("tokens", 1, 16), "pixel_values", "logits")


def bert(width: int) -> Net:
    def make() -> nn.Module:
        config = {**WIDE, "hidden_size": width, "num_hidden_layers": 2, "vocab_size": 50}
        return transformers.BertForTokenClassification(transformers.BertConfig(**config))

    ids = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(0))
    return Net(make, {"s": "**.layer.*"}, Form("plain"), "input_ids", "logits", example=lambda *_: ids)


class Vectors(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Linear(6, width)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def vectors(width: int, depth: int) -> Net:
    return Net(lambda: Vectors(width, depth), {"s": "blocks.*"}, Form("plain"), example=lambda *_: image(2, 6).double())


PAIRS: dict[str, tuple[Net, Net]] = {
    "ViT with ResNet": (timm_vit(), resnet()),
    "ResNet with ViT with registers": (resnet(), timm_vit(registers=4)),
    "Swin with ViT": (swin(), timm_vit()),
    "ConvNeXt with ViT": (convnext(), timm_vit()),
    "torchvision VGG with Hugging Face ViT": (vgg(), hf_vit()),
    "ViT with ViT of other patches": (timm_vit(), timm_vit(patch=32, sizes=((32, 32), (96, 96)))),  # the proportions must stay
    "BERT with BERT": (bert(24), bert(16)),
    "vectors": (vectors(8, 2), vectors(5, 4)),
}


def woven(pair: str, dtype: torch.dtype) -> tuple[gn.Supernet, dict[str, nn.Module]]:
    modules: dict[str, nn.Module] = {}
    branches: dict[str, gn.Branch] = {}
    for seed, (task, made) in enumerate(zip(("p", "a"), PAIRS[pair], strict=True)):
        torch.manual_seed(seed)
        modules[task] = made.make().to(dtype)
        example = made.example(64, 64)
        example = example.to(dtype) if example.is_floating_point() else example
        branches[task] = gn.Branch.from_module(modules[task], taps=made.taps, example={made.input: example}, output=made.output)
    net = gn.weave(branches, primary="p", space=gn.load_spec("aux-nas"))
    return randomize(net.to(dtype)).eval(), modules


def sent(net: gn.Supernet, link: gn.Link, source: Tensor, destination: Tensor, forms: Mapping[str, Form], size: tuple[int, int]) -> Tensor:
    """g * op(y) as the design says: 1x1 across widths, bilinear across resolutions, patches as an image, zeros for prefix tokens."""
    weight = net.gates()[link.id].detach() * dict(net.link_operations[link.id]["conv1x1"].named_parameters())["weight"].detach()
    take, give = forms[link.source.task], forms[link.destination.task]
    if give.kind == "plain" or (take == give and take.kind == "tokens"):
        return torch.einsum("n...i,oi->n...o", source, weight)
    mapped = torch.einsum("nihw,oi->nohw", take.to_image(source, size), weight)
    rows_columns = give.to_image(destination, size).shape[2:]
    return give.back(F.interpolate(mapped, size=rows_columns, mode="bilinear", align_corners=False), destination)


def called(module: nn.Module, made: Net, inputs: Mapping[str, Tensor]) -> Tensor:
    result = module(**{made.input: inputs[made.input]})
    return result if isinstance(result, Tensor) else result.logits


class Eager:
    """The user's own modules with hooks that add what arrives, from the other's values of the round before; until all is settled."""

    def __init__(self, net: gn.Supernet, modules: Mapping[str, nn.Module], pair: str, size: tuple[int, int]) -> None:
        self.net, self.modules, self.size = net, modules, size
        self.nets: dict[str, Net] = dict(zip(("p", "a"), PAIRS[pair], strict=True))
        self.forms = {task: made.form for task, made in self.nets.items()}
        self.own: dict[tuple[str, str], Tensor] = {}

    def hook(self, task: str, tap: str) -> Callable[..., Tensor]:
        def fuse(_: nn.Module, __: Any, value: Tensor) -> Tensor:
            self.own[task, tap] = value
            incoming = [link for link in self.net.links if (link.destination.task, link.destination.tap) == (task, tap)]
            for link in incoming:
                source = self.own.get((link.source.task, link.source.tap))
                if source is not None:
                    value = value + sent(self.net, link, source, self.own[task, tap], self.forms, self.size)
            return value

        return fuse

    @contextlib.contextmanager
    def hooked(self) -> Generator[None]:
        ends = {(end.task, end.tap) for link in self.net.links for end in (link.source, link.destination)}
        handles = [self.modules[task].get_submodule(tap).register_forward_hook(self.hook(task, tap)) for task, tap in ends]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        with self.hooked(), torch.no_grad():
            for _ in range(1 + len(self.net.links)):
                before = dict(self.own)
                for task, module in self.modules.items():
                    out[task] = called(module, self.nets[task], inputs)
                if before and all(torch.equal(before[key], self.own[key]) for key in before):
                    return out
        raise AssertionError("the rounds did not settle")


def inputs_of(pair: str, size: tuple[int, int], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    made = {net.input: net.example(*size) for net in PAIRS[pair]}
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in made.items()}


@pytest.mark.parametrize("pair", PAIRS)
def test_values_are_those_of_eager_networks_with_hooks(pair: str) -> None:
    net, modules = woven(pair, torch.float64)
    assert {link.direction for link in net.links} == {"a2p", "p2a"}
    allowed = set(PAIRS[pair][0].sizes) & set(PAIRS[pair][1].sizes)
    for size in ((64, 64), *sorted(allowed)):
        inputs = inputs_of(pair, size)
        with torch.no_grad():
            out = net(**inputs)
        expected = Eager(net, modules, pair, size).run(inputs)
        for (task, module), made in zip(modules.items(), PAIRS[pair], strict=True):
            torch.testing.assert_close(out[task], expected[task], rtol=1e-9, atol=1e-9)
            assert not torch.allclose(out[task], called(module, made, inputs), rtol=1e-3)  # the links do something


@pytest.mark.parametrize("pair", PAIRS)
def test_pruned_it_is_the_network_that_was_given(pair: str) -> None:
    net, modules = woven(pair, torch.float32)
    pruned = gn.prune(net, force=True)
    assert pruned.certificate.holds
    made = PAIRS[pair][0]
    for size in ((64, 64), *made.sizes):
        inputs = inputs_of(pair, size, torch.float32)
        with torch.no_grad():
            out, expected = called(pruned.module.eval(), made, inputs), called(modules["p"].eval(), made, inputs)
        assert torch.equal(out, expected)
    fresh = made.make()
    fresh.load_state_dict(pruned.module.state_dict(), strict=True)


@pytest.fixture(scope="module")
def of_the_paper() -> dict[str, gn.Branch]:
    """A ViT of 12 blocks in stages of three, and a ResNet-50."""
    example = image(2, 3, 64, 64)
    tiny = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=64, embed_dim=12, num_heads=2)
    deep = timm.create_model("resnet50", num_classes=5)
    blocks = {"s": {"match": "blocks.*", "split": [3, 3, 3, 3]}}
    return {
        "vit": gn.Branch.from_module(tiny, taps=blocks, example=example),
        "resnet": gn.Branch.from_module(deep, taps=LAYERS, example=example),
    }


@pytest.mark.parametrize("primary", ["vit", "resnet"])
@pytest.mark.parametrize("name", ["aux-nas", "aux-nas-mix", "aux-nas-proximal"])
def test_shipped_spaces_leave_no_tap_of_unequal_stages_without_a_link(name: str, primary: str, of_the_paper: dict[str, gn.Branch]) -> None:
    net = gn.weave(of_the_paper, primary=primary, space=gn.load_spec(name))
    taps = {(task, tap.name) for task, branch in of_the_paper.items() for tap in branch.taps}
    assert [len(found) for found in of_the_paper["resnet"].graph.stages.values()] == [3, 4, 6, 3]
    assert {(link.destination.task, link.destination.tap) for link in net.links} == taps
    sources = {(link.source.task, link.source.tap) for link in net.links if name != "aux-nas-mix" or link.direction == "a2p"}
    assert sources == ({end for end in taps if end[0] != primary} if name == "aux-nas-mix" else taps)
