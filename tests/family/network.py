"""One network of the coverage table: how it is built, tapped and fed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import graphnas as gn

CLASSES = 5


@dataclass(frozen=True)
class Network:
    """A network, and what it is woven with beside itself.

    Args:
        name: ``library/model``.
        family: The word that the table's readers look for: ``resnet50``, ``dinov2``.
        build: Makes a fresh one with random weights; nothing is downloaded.
        example: Makes its inputs, batch first: the forward's first argument, or all of them by name.
        taps: Stage -> globs; ``None`` for the stages that graphnas finds by itself.
        output: Which of its outputs is the prediction, where it returns several and none is known by its name.
        choose_taps: Where graphnas finds no stages: module and example -> taps.
        partner: Makes the network of another family that it is woven with, from its own inputs.
        remark: How it is smaller than its published configuration.
    """

    name: str
    family: str
    build: Callable[[], nn.Module]
    example: Callable[[], Tensor | Mapping[str, Tensor]]
    taps: Mapping[str, Any] | None = None
    output: str | int | None = None
    choose_taps: Callable[[nn.Module, Any], Mapping[str, Any]] | None = None
    partner: Callable[[Mapping[str, Tensor]], gn.Branch] | None = None
    remark: str = ""

    @property
    def library(self) -> str:
        return self.name.partition("/")[0]

    def traced(self, module: nn.Module) -> tuple[gn.Branch, Mapping[str, Any] | None, str]:
        """The branch, its taps as they were asked for, and whether these were ``given``, found by graphnas (``default``), or ``chosen``."""
        if self.taps is not None or self.choose_taps is None:
            return self.branch(module, self.taps), self.taps, "default" if self.taps is None else "given"
        try:
            return self.branch(module, None), None, "default"
        except gn.GraphNASError:
            taps = self.choose_taps(module, self.example())
            return self.branch(module, taps), taps, "chosen"

    def branch(self, module: nn.Module, taps: Mapping[str, Any] | None = None) -> gn.Branch:
        return gn.Branch.from_module(module, taps=taps, example=self.example(), output=self.output)


def image(size: int, *, batch: int = 2) -> Callable[[], Tensor]:
    """Random images (batch, 3, size, size), always the same."""
    return lambda: torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def resnet18_for(inputs: Mapping[str, Tensor]) -> gn.Branch:
    """timm's resnet18 with its default stages, on images of the size that the other network takes."""
    import timm

    [given] = [value for value in inputs.values() if value.dim() == 4]
    module = timm.create_model("resnet18", num_classes=CLASSES)
    return gn.Branch.from_module(module, example={"x": given})
