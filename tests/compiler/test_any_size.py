"""Recordings of modules whose own size is special."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from graphnas.compiler.any_size import recorded_for_any_size
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
    return recorded_for_any_size(module.eval(), {"s": ["body"]}, {"x": torch.rand(2, 3, *SIZE)})


def agrees(branch: Branch, module: nn.Module, size: tuple[int, int]) -> bool:
    x = torch.rand(1, 3, *size)
    with torch.no_grad():
        return torch.equal(fx.GraphModule(module, branch.recorded)(x), module(x))


@pytest.mark.parametrize("module", [Positions(), Even()], ids=["positions", "even"])
def test_the_embedding_is_resized_at_every_size(module: nn.Module) -> None:
    assert Branch.from_module(module, taps={"s": ["body"]}, example=torch.rand(2, 3, *SIZE)).fixed_size
    branch = recorded(module)
    assert not branch.fixed_size
    assert list(branch.tap_nodes) == ["body"]
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
    sizes: list[Any] = []
    real = Branch.from_module

    def counted(module: nn.Module, *, example: Any, **options: Any) -> Branch:
        sizes.append(tuple(example["input"].shape[2:]))
        return real(module, example=example, **options)

    monkeypatch.setattr(Branch, "from_module", staticmethod(counted))
    recorded_for_any_size(nn.Sequential(nn.Conv2d(3, 4, 1)), {"s": ["0"]}, {"input": torch.rand(2, 3, *SIZE)})
    assert sizes == [SIZE]
