"""Recordings of modules whose own size is special."""

from __future__ import annotations

import logging

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import graphnas as gn
from graphnas.compiler import any_size
from graphnas.compiler.branch import Branch

SIZE = (8, 12)


class Positions(nn.Module):
    """Adds an embedding, resized where the image has another size than it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(1, 3, *SIZE))
        self.body = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        own = self.embedding
        if x.shape[2:] != own.shape[2:]:
            own = F.interpolate(own, size=x.shape[2:], mode=self.mode(), align_corners=False)
        return self.body(x + own)

    def mode(self) -> str:
        return "bicubic"  # which leaves an image of that size as it is, to the bit


class Doubled(Positions):
    """Not the same function at its own size."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (2 if tuple(x.shape[2:]) == SIZE else 1)


class Even(Positions):
    """Refuses half its size."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] < SIZE[0]:
            raise LookupError(f"{x.shape[2]} rows are too few")
        return super().forward(x)


class Picky(Positions):
    """Takes no other size."""

    def forward(self, x: Tensor) -> Tensor:
        assert tuple(x.shape[2:]) == SIZE
        return super().forward(x)


def recorded(module: nn.Module) -> Branch:
    return Branch.from_module(module.eval(), taps={"s": ["body"]}, example=torch.rand(2, 3, *SIZE))


def agrees(branch: Branch, module: nn.Module, size: tuple[int, int]) -> bool:
    x = torch.rand(1, 3, *size)
    with torch.no_grad():
        return torch.equal(fx.GraphModule(module, branch.recorded)(x), module(x))


@pytest.mark.parametrize("module", [Positions(), Even()], ids=["positions", "even"])
def test_the_embedding_is_resized_at_every_size(module: nn.Module) -> None:
    branch = recorded(module)
    assert not branch.fixed_size
    assert [(tap.name, str(tap.type)) for tap in branch.taps] == [("body", f"image[4, {SIZE[0]}, {SIZE[1]}]")]
    assert all(node.type == branch.graph.by_name["x"].type for node in branch.graph.inputs)
    assert all(agrees(branch, module, size) for size in (SIZE, (9, 12), (20, 10), (64, 64)))


def test_another_function_at_another_size_is_left_as_it_was() -> None:
    module = Doubled()
    branch = recorded(module)
    assert branch.fixed_size
    assert agrees(branch, module, SIZE)


def test_one_size_only() -> None:
    module = Picky()
    branch = recorded(module)
    assert not branch.fixed_size  # there is no other size to go wrong at
    assert agrees(branch, module, SIZE)


def test_a_size_that_is_refused_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "graphnas"):
        recorded(Even())
    [message] = [record.getMessage() for record in caplog.records if record.name.endswith("any_size")]
    assert message.startswith("Even at 1/2 of its size: ")
    assert "LookupError: 4 rows are too few" in message


def test_modules_without_such_a_size_are_recorded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(any_size, "checked_recording", None)
    assert not Branch.from_module(nn.Sequential(nn.Conv2d(3, 4, 1)), taps={"s": ["0"]}, example=torch.rand(2, 3, *SIZE)).fixed_size


class Counted(Positions):
    """Makes more values of a name at another size than its own."""

    def forward(self, x: Tensor) -> Tensor:
        own = self.embedding
        if tuple(x.shape[2:]) != SIZE:
            own = F.interpolate(own * 1, size=x.shape[2:], mode="bicubic", align_corners=False)
        return self.body((x + own) * 2)


@pytest.mark.parametrize(("tap", "fixed"), [("add", False), ("mul", True)])
def test_a_tap_is_the_same_value_at_every_size(tap: str, fixed: bool) -> None:
    module = Counted().eval()
    branch = Branch.from_module(module, taps={"s": [tap]}, example=torch.rand(2, 3, *SIZE))
    assert branch.fixed_size is fixed
    assert agrees(branch, module, SIZE)


@pytest.mark.parametrize("taken", [True, False])
def test_a_vision_transformer_takes_what_it_takes_itself(taken: bool) -> None:
    module = timm.create_model("vit_tiny_patch16_224", img_size=64, embed_dim=24, depth=2, num_classes=3, dynamic_img_size=taken).eval()
    branch = Branch.from_module(module, taps={"s": ["blocks.*"]}, example=torch.rand(2, 3, 64, 64))
    assert not branch.fixed_size
    assert [str(tap.type) for tap in branch.taps] == ["tokens[17, 24]"] * 2
    net = gn.weave({"p": branch}, primary="p", space=gn.load_spec("single-task")).eval()
    pruned = gn.prune(net)
    assert pruned.certificate.holds
    for size in ((64, 64), (32, 48), (80, 64)):
        x = torch.rand(1, 3, *size)
        if taken or size == (64, 64):
            assert torch.equal(net(x)["p"], module(x))
            assert torch.equal(pruned.module(x), module(x))
        else:
            for network in (net, module, pruned.module):
                with pytest.raises(AssertionError, match=r"Input height \(\d+\) doesn't match model \(64\)"):
                    network(x)
