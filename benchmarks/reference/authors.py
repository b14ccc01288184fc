"""The authors' own implementation, from a checkout of github.com/ethanygao/Aux-NAS, in the settings of its configuration for normals."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import register_model
from torch import Tensor, nn

MISSING = "is no checkout of github.com/ethanygao/Aux-NAS (networks/stagewise_search_aux.py is not there)"


class AuthorsSearch:
    """One step of ``trainer/Trainer.py``: the alphas on one batch, then the weights on another.

    Args:
        checkout: Folder of the repository.
        encoder: timm's name of a vision transformer, and its ``img_size``.
        channels: Width of the head.
        width: Channels of a token.
        classes: Of the segmentation.
        device: Where it runs.
    """

    def __init__(self, checkout: Path, encoder: Mapping[str, Any], channels: int, width: int, classes: int, device: torch.device) -> None:
        if not (checkout / "networks" / "stagewise_search_aux.py").is_file():
            raise FileNotFoundError(f"{checkout} {MISSING}")
        sys.path.insert(0, str(checkout))  # it imports its own packages by their names
        from loss.losses import NormalLoss  # pyright: ignore[reportMissingImports]
        from networks.aux_model import vit_t_b_connectivity  # pyright: ignore[reportMissingImports]
        from networks.single_task import SingleTask  # pyright: ignore[reportMissingImports]
        from networks.stagewise_search_aux import GeneralizedMTLNASNet_L1Cut  # pyright: ignore[reportMissingImports]

        config, model, size = _config(channels, width, classes), _at_size(encoder), encoder["img_size"]
        branches = [
            SingleTask(image_size=(3, size, size), model_timm=model, type=task, pretrained=False, **config["General"])
            for task in ("normal", "segmentation")
        ]
        masks = {name: vit_t_b_connectivity() for name in ("prim_aux_connectivity_matrix", "aux_prim_connectivity_matrix")}
        self.net: Any = GeneralizedMTLNASNet_L1Cut(config, *branches, **masks, tasks=["normal", "segmentation"], prim_task="normal")
        self.net.to(device).train()
        self.net.set_total_steps(1000)
        self.losses = NormalLoss(ignore_index=255), nn.CrossEntropyLoss(ignore_index=255)
        self.weights = torch.optim.Adam(self.net.net_parameters(), lr=1e-4)
        self.alphas = torch.optim.Adam(self.net.arch_parameters(), lr=1e-2)

    def step(self, for_alphas: tuple[Tensor, tuple[Tensor, Tensor]], for_weights: tuple[Tensor, tuple[Tensor, Tensor]], t: float) -> float:
        """As ``nas_train`` has it; ``t`` is the share of training.

        Returns:
            The loss of the weight step.
        """
        self.net._step = int(1000 * t)
        image, labels = for_alphas
        self.alphas.zero_grad()
        predictions = self.net(image)
        total = self._loss(predictions, labels)
        entropy, l1 = self.net.regu_loss()
        (total + entropy + l1).backward()
        self.alphas.step()
        image, labels = for_weights
        self.weights.zero_grad()
        total = self._loss(self.net(image), labels)
        total.backward()
        self.weights.step()
        return float(total.item())

    def _loss(self, predictions: Any, labels: tuple[Tensor, Tensor]) -> Tensor:
        cosine, entropy = self.losses
        return 20.0 * cosine(predictions[0], labels[0]) + 1.0 * entropy(predictions[1], labels[1])


def _at_size(encoder: Mapping[str, Any]) -> str:
    """Their code gives timm a name alone: a name for the model at another image size."""
    model, size = str(encoder["model"]), int(encoder["img_size"])
    name = f"{model}_at_{size}"

    def entry(**_: Any) -> nn.Module:  # published weights or random ones: both cost the same
        return timm.create_model(model, img_size=size, num_classes=0)

    entry.__name__ = name
    entry.__module__ = "timm.models.vision_transformer"
    register_model(entry)
    return name


def _config(channels: int, width: int, classes: int) -> dict[str, Any]:
    """What ``configs/config_aux_nas_prim_normal.json`` says, for this network; its 3x3 fusions of the head included, which the code that
    builds a search leaves at another kind.
    """
    return {
        "General": {
            "emb_dim": width, "resample_dim": channels, "read": "ignore", "hooks": [2, 5, 8, 11], "patch_size": 16,
            "seg_nclasses": classes, "fuse_conv_type": "3x3",
        },
        "Aux": {
            "Arch": {"init_arch_weight": 0.5, "a2p_init_arch_weight": 0.001},
            "regu_losses": {
                "entropy_regu": False, "entropy_regu_weight": 0.0, "entropy_regu_period": [0.2, 0.5],
                "l1_regu": True, "l1_regu_weight": 1000.0, "l1_regu_period": [0.5, 0.8],
            },
            "NDDR": {"init": [0.0, 0.0], "a2p_init": [0.0, 0.0], "norm": "none", "activ": "none"},
        },
    }  # fmt: skip
