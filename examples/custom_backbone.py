"""Your own backbone: a hand-written network is trained with the labels of a second task, and comes back as itself.

    python examples/custom_backbone.py [--steps 60]

The primary is ``SmallNet``, a plain ``nn.Module`` that knows nothing of graphnas; the auxiliary is a ResNet-18 of timm with a small
decoder. Images, surface normals and classes are drawn on the fly: balls and boxes on a floor. At the end the weights are loaded, strictly,
into a fresh ``SmallNet``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset

import graphnas as gn

SIZE = 32  # pixels


class SmallNet(nn.Module):
    """(N, 3, H, W) -> (N, 3, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.down1 = nn.Sequential(nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(inplace=True))
        self.down2 = nn.Sequential(nn.Conv2d(24, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(inplace=True))
        self.up1 = nn.Conv2d(32, 24, 1)
        self.up2 = nn.Conv2d(24, 16, 1)
        self.head = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.stem(image)
        middle = self.down1(fine)
        x = self.up1(self.down2(middle))
        x = nn.functional.interpolate(x, size=middle.shape[-2:], mode="bilinear") + middle
        x = nn.functional.interpolate(self.up2(x), size=fine.shape[-2:], mode="bilinear") + fine
        return self.head(x)


class Segmenter(nn.Module):
    """A timm backbone and a decoder of one convolution: (N, 3, H, W) -> (N, 3 classes, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model("resnet18", pretrained=False, num_classes=0, global_pool="")
        self.classes = nn.Conv2d(512, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(self.classes(self.backbone(image)), size=image.shape[-2:], mode="bilinear")


class Shapes(Dataset[dict[str, object]]):
    """Samples with an image, classes (0 floor, 1 ball, 2 box), and for the first few also normals."""

    def __init__(self, count: int, with_normals: int) -> None:
        self.count, self.with_normals = count, with_normals

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, object]:
        random = np.random.default_rng(index)
        y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
        normals = np.zeros((SIZE, SIZE, 3), np.float32)
        normals[..., 1] = 1.0  # the floor looks up
        classes = np.zeros((SIZE, SIZE), np.int64)
        for kind in random.permutation([1, 2]):
            cx, cy, r = random.uniform(8, 24), random.uniform(8, 24), random.uniform(5, 9)
            dx, dy = (x - cx) / r, (y - cy) / r
            inside = dx**2 + dy**2 < 1 if kind == 1 else np.maximum(abs(dx), abs(dy)) < 0.8
            ball = np.stack([dx, -dy, np.sqrt(np.clip(1 - dx**2 - dy**2, 0, 1))], -1)
            normals[inside] = ball[inside] if kind == 1 else (0.0, 0.0, 1.0)
            classes[inside] = kind
        light = np.array([0.4, 0.7, 0.6], np.float32)
        colors = np.array([[0.6, 0.5, 0.4], [0.9, 0.3, 0.3], [0.3, 0.4, 0.9]], np.float32)
        shade = np.clip(normals @ light, 0.1, 1)[..., None] * colors[classes]
        image = (np.clip(shade + random.normal(0, 0.05, shade.shape), 0, 1) * 255).astype(np.uint8)
        sample: dict[str, object] = {"image": image, "classes": classes}
        if index < self.with_normals:
            sample["normals"] = normals
        return sample


SPACE = {
    "kind": "search_space",
    "links": [
        {
            "direction": "auxiliary -> primary",
            "operations": ["conv1x1"],
            "gate": {"function": "sigmoid", "initial": 0.01},
            "penalty": {"type": "l1", "of": "contribution", "strength": 100, "ramp": [0.1, 0.4]},
            "converges_to": "zero",
        },
        {"direction": "primary -> auxiliary", "operations": ["conv1x1"], "gate": {"initial": 0.5}, "converges_to": "free"},
    ],
}


def spec(steps: int) -> gn.SearchSpec:
    return gn.parse_spec(
        {
            "kind": "search",
            "task_pair": {
                "kind": "task_pair",
                "primary": "normals",
                "sources": {"shapes": {"layout": "python", "validation": {"fraction": 0.2}}},
                "inputs": {"image": "image"},
                "tasks": {
                    "normals": {"type": "surface_normal", "key": "normals"},
                    "classes": {"type": "semantic_segmentation", "key": "classes", "classes": 3},
                },
                "transforms": ["horizontal_flip"],
            },
            "space": SPACE,
            "training": {
                "steps": steps,
                "batch_size": 8,
                "auxiliary_batch_size": 8,
                "updates": "joint",
                "optimizers": {"weights": {"type": "adamw", "lr": 3e-3, "schedule": "cosine"}, "alphas": {"type": "adam", "lr": 1e-2}},
                "select": {"metric": "mean_angle", "after": "ramp_end"},
            },
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args().steps

    torch.manual_seed(0)
    image = torch.rand(2, 3, SIZE, SIZE)
    networks = {
        "normals": gn.Branch.from_module(SmallNet(), taps={"s1": ["down1"], "s2": ["down2"]}, example=image),
        "classes": gn.Branch.from_module(Segmenter(), taps={"s1": ["backbone.layer1"], "s2": ["backbone.layer2"]}, example=image),
    }
    with tempfile.TemporaryDirectory() as folder:
        result = gn.search(spec(steps), networks=networks, data={"shapes": Shapes(160, with_normals=60)}, out=Path(folder) / "run")
        for row in result.rows:
            angle = row["metrics"]["mean_angle"]
            print(f"{row['name']:12} mean angle {angle:6.2f} degrees, {row['macs']:,} MACs, {row['parameters']:,} parameters")
        print("certificate holds:", result.certificate.holds)

        mine = SmallNet()
        mine.load_state_dict(load_file(Path(folder) / "run" / "artifact" / "model.safetensors"), strict=True)
        same = gn.load(Path(folder) / "run" / "artifact", into=SmallNet())
        assert torch.equal(mine.eval()(image), same(image))
        print("loaded strictly into a fresh SmallNet")


if __name__ == "__main__":
    main()
