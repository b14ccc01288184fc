"""The pairs of networks that the benchmarks of a search run on: two equal branches, surface normals and 11 classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

import graphnas as gn
from benchmarks.reference.losses import labels
from benchmarks.reference.search import Supernet
from benchmarks.reference.towers import ResNetTower, Tower, VisionTransformerTower
from graphnas.compiler import infer, lower
from graphnas.compiler.build import spec_branch
from graphnas.data import Batch
from graphnas.graph.types import Image
from graphnas.spec import NetworkSpec, SearchSpaceSpec, parse_spec
from graphnas.tasks.semantic_segmentation import SemanticSegmentation
from graphnas.tasks.surface_normal import SurfaceNormal

CHANNELS = {"normals": 3, "segmentation": 11}
TASKS = {"normals": SurfaceNormal(key="normal"), "segmentation": SemanticSegmentation(key="seg", classes=11)}
WEIGHTS = {"normals": 20.0, "segmentation": 1.0}  # the authors'


@dataclass(frozen=True)
class Pair:
    """Two branches of one kind.

    Args:
        encoder: timm's name, and what else ``create_model`` is given.
        head: The operation of the head, with its parameters.
        read: What the head reads.
        taps: Of the network spec.
        size: Pixels of a side.
        batch: Samples in a batch.
        tower: The same network for a search by hand: (encoder, head).
        widths: Channels of every block's value.
        memory_format: The setting of ``runtime.memory_format`` that graphnas runs it with.
    """

    encoder: Mapping[str, Any]
    head: Mapping[str, Any]
    read: Sequence[str]
    taps: Mapping[str, Any]
    size: int
    batch: int
    tower: Callable[[nn.Module, nn.Module], Tower]
    widths: tuple[int, ...]
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"

    def spec(self, channels: int) -> NetworkSpec:
        """The network of a task."""
        encoder = {"op": "timm", "inputs": "image", "pretrained": False, "num_classes": 0, **self.encoder}
        head = {"inputs": [f"encoder.{name}" for name in self.read], "out_channels": channels, **self.head}
        taps = dict(self.taps)
        inputs = {"image": f"image[3, {self.size}, {self.size}]"}
        parsed = parse_spec(
            {"kind": "network", "inputs": inputs, "nodes": {"encoder": encoder, "head": head}, "outputs": "head", "taps": taps}
        )
        assert isinstance(parsed, NetworkSpec)
        return parsed

    def networks(self) -> dict[str, tuple[gn.Branch, nn.Module]]:
        """Task -> its branch, and the module that was recorded; the same random weights every time."""
        found: dict[str, tuple[gn.Branch, nn.Module]] = {}
        for number, (task, channels) in enumerate(CHANNELS.items()):
            torch.manual_seed(number)
            spec = self.spec(channels)
            graph = infer(spec, {"image": Image(3, self.size, self.size)})
            module = lower(spec, graph)
            found[task] = spec_branch(spec, graph, module), module
        return found

    def supernet(self, space: SearchSpaceSpec) -> gn.Supernet:
        """Woven by graphnas."""
        return gn.weave({task: branch for task, (branch, _) in self.networks().items()}, primary="normals", space=space).train()

    def towers(self) -> dict[str, Tower]:
        """The same networks with the same weights, by hand."""
        found: dict[str, Tower] = {}
        for task, (_, module) in self.networks().items():
            encoder = timm.create_model(**{"model_name": self.encoder["model"], "num_classes": 0} | self._options())
            encoder.load_state_dict(module.get_submodule("encoder").state_dict())
            found[task] = self.tower(encoder, module.get_submodule("head"))
        return found

    def by_hand(self) -> Supernet:
        """A supernet written by hand, with the same weights."""
        towers = self.towers()
        return Supernet(towers["normals"], towers["segmentation"], self.widths).train()

    def _options(self) -> dict[str, Any]:
        return {name: value for name, value in self.encoder.items() if name != "model"}

    def batches(self, device: torch.device | None = None) -> list[tuple[Tensor, tuple[Tensor, Tensor]]]:
        """Two of them: (image, (normals, classes)); on the CPU, if nothing else is said."""
        drawn = [labels(self.batch, self.size, CHANNELS["segmentation"], seed) for seed in (0, 1)]
        return [(image.to(device), (normals.to(device), classes.to(device))) for image, (normals, classes) in drawn]


def as_batch(drawn: tuple[Tensor, tuple[Tensor, Tensor]]) -> Batch:
    """The same for graphnas."""
    image, (normals, classes) = drawn
    rows = torch.arange(len(image))
    targets = {"normals": normals, "segmentation": classes}
    return Batch({"image": image}, targets, dict.fromkeys(targets, rows), tuple(str(i) for i in range(len(image))))


def _transformer(model: str, width: int, size: int, batch: int, channels: int) -> Pair:
    return Pair(
        encoder={"model": model, "img_size": size},
        head={"op": "reassemble_head", "channels": channels},
        read=[f"blocks.{i}" for i in (2, 5, 8, 11)],
        taps={"s": {"match": "encoder.blocks.*", "split": [3, 3, 3, 3]}},
        size=size,
        batch=batch,
        tower=VisionTransformerTower,
        widths=(width,) * 12,
    )


PAIRS = {
    "vit-tiny-128": _transformer("vit_tiny_patch16_224", 192, 128, 8, 64),
    "vit-tiny-224": _transformer("vit_tiny_patch16_224", 192, 224, 4, 64),
    "vit-small-224": _transformer("vit_small_patch16_224", 384, 224, 2, 96),
    "resnet18-128": Pair(
        encoder={"model": "resnet18"},
        head={"op": "fpn_head", "channels": 64, "scale": 4},
        read=[f"layer{i}" for i in (1, 2, 3, 4)],
        taps={f"s{i}": f"encoder.layer{i}.*" for i in (1, 2, 3, 4)},
        size=128,
        batch=8,
        tower=ResNetTower,
        widths=(64, 64, 128, 128, 256, 256, 512, 512),
        memory_format="channels_last",
    ),
}
