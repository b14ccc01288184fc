"""One small network of each mechanism through all checks of ``make families``; and what the list and its page hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
import transformers
from timm.models.densenet import DenseNet
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

import graphnas as gn
from tests.builders import conv
from tests.families import NETWORKS
from tests.family import runner
from tests.family.checks import CHECKS, examine
from tests.family.network import CLASSES, Network, image

SIZE = 32


def each(pattern: str, *names: Any) -> dict[str, Any]:
    """Stages s1, s2, ... of one tap each."""
    return {f"s{i}": pattern.format(name) for i, name in enumerate(names, 1)}


TWO = {"s1": "first", "s2": "second"}


def small_resnet(inputs: Mapping[str, Tensor]) -> gn.Branch:
    """The partner here: as resnet18, but small."""
    [given] = [value for value in inputs.values() if value.dim() == 4]
    module = timm.create_model("test_resnet", num_classes=CLASSES)
    return gn.Branch.from_module(module, taps={f"s{i}": f"layer{i}" for i in (1, 2, 3, 4)}, example={"x": given})


class InPlace(nn.Module):
    """Taps whose values are changed in place afterwards: by a batch norm's ReLU, by ``+=``, and in a part."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.act = conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.second = conv(8, 8)
        self.head = nn.Conv2d(8, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.first(x))
        z = self.second(self.norm(y))
        z += y
        z[:, 0].mul_(0.5)
        return self.head(F.dropout2d(z, 0.2, self.training))


class Outputs(nn.Module):
    """Two maps, of which the prediction is returned first, in one of several forms."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.first, self.norm, self.second = conv(3, 8), nn.BatchNorm2d(8), conv(8, 8)
        self.head, self.extra = nn.Conv2d(8, CLASSES, 1), nn.Conv2d(8, 2, 1)
        self.form = form

    def forward(self, x: Tensor) -> Any:
        y = self.norm(self.first(x)).relu()
        return self.form(self.head(self.second(y)), self.extra(y))


@dataclass
class Both:
    prediction: Tensor
    extra: Tensor


torch.export.register_dataclass(Both)  # as its author has to, for torch.export


class Shared(nn.Module):
    """A module that is called twice, and a weight with two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.second = conv(3, 8), conv(8, 8), conv(8, 8)
        self.second.weight = self.middle.weight
        self.head = nn.Conv2d(8, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.head(self.second(self.middle(self.middle(y).relu())))


class Auxiliary(nn.Module):
    """Another head and another form of output in train mode, as googlenet has them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = conv(3, 8), nn.BatchNorm2d(8), conv(8, 8)
        self.head, self.aux = nn.Conv2d(8, CLASSES, 1), nn.Conv2d(8, CLASSES, 1)

    def forward(self, x: Tensor) -> Any:
        y = self.norm(self.first(x))
        out = self.head(self.second(y))
        if self.training:
            return {"out": out, "aux": self.aux(y)}
        return out


def own(name: str, build: Callable[[], nn.Module], **options: Any) -> Network:
    return Network(f"own/{name}", name, build, image(SIZE), TWO, partner=small_resnet, **options)


def known(name: str, build: Callable[[], nn.Module], taps: Mapping[str, Any], size: int = SIZE) -> Network:
    return Network(name, name, build, image(size), taps, partner=small_resnet)


def hugging_face(model: str, **settings: Any) -> nn.Module:
    config = getattr(transformers, f"{model.partition('For')[0]}Config")(**settings)
    return getattr(transformers, model)(config)


def masked_bert(width: int = 16) -> nn.Module:
    """Its decoder's weight is the embedding's."""
    return hugging_face(
        "BertForMaskedLM", hidden_size=width, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50,
        max_position_embeddings=16,
    )  # fmt: skip


def text() -> dict[str, Tensor]:
    ids = torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": (ids > 5).long()}


def wide_bert(inputs: Mapping[str, Tensor]) -> gn.Branch:
    return gn.Branch.from_module(masked_bert(24), taps=each("bert.encoder.layer.{}", 0, 1), example=dict(inputs))


MECHANISMS = [
    own("in place after a tap", InPlace),
    own("tuple output", lambda: Outputs(lambda prediction, extra: (prediction, extra)), output=0),
    own("dict output", lambda: Outputs(lambda prediction, extra: {"out": prediction, "aux": extra})),
    own("dataclass output", lambda: Outputs(Both)),
    own("shared and tied", Shared),
    own("train/eval dispatch", Auxiliary),
    known("conv, batch norm, in place", lambda: timm.create_model("test_resnet", num_classes=CLASSES), each("layer{}", 1, 2, 3, 4)),
    known(
        "concatenation",
        lambda: DenseNet(growth_rate=4, block_config=(2, 2, 2), num_classes=CLASSES),
        each("features.denseblock{}", 1, 2, 3),
    ),
    known("squeeze and excite", lambda: timm.create_model("test_efficientnet", num_classes=CLASSES), each("blocks.{}", 0, 1, 2, 3)),
    known(
        "tokens, class token, drop path",
        lambda: timm.create_model("test_vit", img_size=SIZE, num_classes=CLASSES, drop_path_rate=0.2, pos_drop_rate=0.1),
        each("blocks.{}", 0, 2, 5),
    ),
    known(
        "window attention, NHWC",
        lambda: SwinTransformer(
            img_size=SIZE, patch_size=2, window_size=4, embed_dim=8, depths=(2, 2), num_heads=(1, 2), num_classes=CLASSES
        ),
        each("layers.{}", 0, 1),
    ),
    known(
        "ModelOutput, labels left out",
        lambda: hugging_face(
            "SegformerForSemanticSegmentation", hidden_sizes=[8, 16], depths=[1, 1], num_attention_heads=[1, 2], sr_ratios=[4, 2],
            num_encoder_blocks=2, patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2], decoder_hidden_size=8, num_labels=CLASSES,
        ),
        each("segformer.stages.{}.layer_norm", 0, 1),
    ),
    known(
        "taps that are tuples",
        lambda: hugging_face(
            "Swinv2ForImageClassification", image_size=SIZE, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4,
            num_labels=CLASSES,
        ),
        {f"s{i + 1}": {"match": f"swinv2.encoder.layers.{i}", "output": 0} for i in (0, 1)},
    ),
    known(
        "encoder and decoder",
        lambda: smp.Unet("tu-test_resnet", encoder_weights=None, classes=CLASSES, decoder_channels=(8, 8, 8, 8, 8)),
        each("decoder.blocks.{}", 0, 1, 2),
    ),
    Network("text ids, tied embedding", "text", masked_bert, text, each("bert.encoder.layer.{}", 0, 1), partner=wide_bert),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("network", MECHANISMS, ids=lambda network: network.name)
def test_every_check_holds(network: Network) -> None:
    results = {name: reason for name, reason, _ in examine(network)}
    assert results == dict.fromkeys(CHECKS)


NAMED = {  # the families that the list must hold: library -> names, each the beginning of a family or of a model
    "timm": (
        "vgg11 vgg16_bn resnet18 resnet50 resnext50 seresnet densenet121 efficientnet_b0 efficientnetv2 mobilenetv3 regnety convnext"
        " convnextv2 nfnet swin swinv2 vit_tiny vit_small vit_base deit3 beit dinov2 dinov3 eva02 cait pvt_v2 mobilevit fastvit hiera"
        " maxvit efficientvit mlp-mixer coatnet"
    ),
    "torchvision": "vgg resnet mobilenet swin vit convnext deeplabv3 fcn lraspp",
    "segmentation_models_pytorch": "Unet FPN DeepLabV3Plus Segformer UPerNet DPT",
    "transformers": "ViT Dinov2 Segformer DPT ConvNextV2 Swinv2 Bert",
}


@pytest.mark.parametrize("library", NAMED)
def test_the_list_holds_what_people_use(library: str) -> None:
    own = [network for network in NETWORKS.values() if network.library == library]
    names = [network.family if library == "timm" else network.name.partition("/")[2] for network in own]
    exact = library in ("timm", "segmentation_models_pytorch")
    missing = [n for n in NAMED[library].split() if not any(name == n if exact else name.startswith(n) for name in names)]
    assert missing == []


def test_the_page_names_every_network_of_the_list() -> None:
    page = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1].split() for line in page.partition("## A fresh draw")[0].splitlines() if line.startswith("| ")]
    assert [cell[0] for cell in cells if "/" in cell[0]] == list(NETWORKS)


def test_one_that_crashes_or_hangs_costs_the_others_nothing(tmp_path: Path) -> None:
    """And a result of the same code is not made again."""
    children = {"good": "pass", "crash": "import os; os.abort()", "long": "while True: pass"}
    script = tmp_path / "child.py"
    script.write_text(
        "import json, sys\n"
        f"children = {children!r}\n"
        f"file = {str(tmp_path)!r} + '/' + sys.argv[1] + '.json'\n"
        "result = json.load(open(file)) | {'running': 'traced'}\n"
        "json.dump(result, open(file, 'w'))\n"
        "exec(children[sys.argv[1]])\n"
        "result['checks'] = {'traced': {'reason': None, 'seconds': 1.0}}\n"
        "json.dump(result, open(file, 'w'))\n"
    )
    command = [sys.executable, str(script)]
    runner.run_all(children, tmp_path, jobs=2, limit_s=1, command=command)
    results = {name: runner.read(tmp_path, name) or {} for name in children}
    assert {name: runner.failed(result) for name, result in results.items()} == {
        "good": {},
        "crash": {"traced": "the process ended with status -6"},
        "long": {"traced": "took more than 1 s of processor time"},
    }
    runner.path_of(tmp_path, "good").write_text(json.dumps(results["good"] | {"mark": 1}))
    runner.run_all(["good"], tmp_path, jobs=1, limit_s=1, command=["false"])
    assert (runner.read(tmp_path, "good") or {})["mark"] == 1
