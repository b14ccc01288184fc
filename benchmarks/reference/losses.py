"""The paper's losses on dense predictions: cosine of normals and cross entropy of classes, over the labeled pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255


def cosine_loss(prediction: Tensor, normals: Tensor) -> Tensor:
    """1 - mean cosine; (N, 3, h, w) and unit vectors (N, 3, H, W), zero where there is no label."""
    prediction = sized(prediction, normals)
    labeled = normals.abs().sum(dim=1) > 0
    return 1 - F.cosine_similarity(prediction, normals, dim=1)[labeled].mean()


def class_loss(prediction: Tensor, classes: Tensor) -> Tensor:
    """Cross entropy; (N, K, h, w) and ids (N, H, W), 255 where there is no label."""
    return F.cross_entropy(sized(prediction, classes), classes, ignore_index=IGNORE)


def both(primary: Tensor, auxiliary: Tensor, labels: tuple[Tensor, Tensor]) -> Tensor:
    """Normals weigh 20, classes 1: the authors' setting."""
    normals, classes = labels
    return 20 * cosine_loss(primary, normals) + class_loss(auxiliary, classes)


def sized(prediction: Tensor, labels: Tensor) -> Tensor:
    size = labels.shape[-2:]
    return prediction if prediction.shape[-2:] == size else F.interpolate(prediction, size, mode="bilinear", align_corners=False)


def labels(batch: int, size: int, classes: int, seed: int = 0) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """An image batch (N, 3, S, S) with normals and classes at random."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, 3, size, size, generator=generator)
    normals = F.normalize(torch.randn(batch, 3, size, size, generator=generator), dim=1)
    return image, (normals, torch.randint(classes, (batch, size, size), generator=generator))
