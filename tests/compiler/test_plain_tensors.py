"""Tensors that a module keeps as plain attributes, alone or in lists and dictionaries: neither parameters nor buffers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphnas as gn
from tests.builders import INTO, OUT, conv, image, randomize, space

X = image(2, 3, 6, 6)


class Kept(nn.Module):
    """Keeps tensors in every way that the forward may read them in."""

    def __init__(self) -> None:
        super().__init__()
        self.alone = torch.tensor(2.0)
        self._hidden = torch.tensor(0.5)
        self.scales = [torch.tensor(3.0), torch.tensor(-1.0)]
        self.tables: dict[str, Any] = {"shift": torch.rand(4, 1, 1), "pairs": [(torch.rand(4, 1, 1), torch.rand(4, 1, 1))]}
        self.first, self.second = conv(), conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) * self.alone * self.scales[0] + self._hidden
        low, high = self.tables["pairs"][0]
        return self.second(x.clamp(low - 1, high + 1)) * self.scales[1] + self.tables["shift"]


class Inside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = Kept()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize(("module", "taps"), [(Kept, ["first", "second"]), (Inside, ["body.first", "body.second"])])
def test_they_are_what_they_are_in_the_module(module: type[nn.Module], taps: list[str]) -> None:
    own = module()
    branches = {task: gn.Branch.from_module(made, taps={"s": taps}, example=X) for task, made in (("p", own), ("q", module()))}
    net = randomize(gn.weave(branches, primary="p", space=space(INTO, OUT))).eval()
    assert not torch.equal(net(X)["p"], own.eval()(X))
    assert torch.equal(copy.deepcopy(net)(X)["p"], net(X)["p"])
    pruned = gn.prune(net, force=True)
    assert pruned.certificate.holds
    assert list(pruned.module.state_dict()) == list(own.state_dict())
    assert torch.equal(pruned.module(X), own(X))
