"""Losses that are linear in the parameters, so that their gradients are what a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphnas import registry
from graphnas.search.balance import Balance, Balancer, Descent, Setting

Make = Callable[..., Balance]


@pytest.fixture
def make() -> Make:
    """A balance by its name and fields."""

    def made(name: str, **fields: Any) -> Balance:
        return registry.balances.get(name).model_validate({"type": name, **fields})

    return made


@pytest.fixture
def describe() -> Callable[..., Descent]:
    """A step with these losses."""

    def made(losses: Mapping[str, Tensor], weights: Sequence[nn.Parameter], **changes: Any) -> Descent:
        fields: dict[str, Any] = {"progress": 0.0, "penalty": None, "alphas": [], "rate": 0.1, "scaler": None}
        fields |= {"again": lambda: losses, "held_out": lambda: losses, **changes}
        return Descent(losses=losses, weights=weights, **fields)

    return made


@pytest.fixture
def gradient(describe: Callable[..., Descent]) -> Callable[..., Tensor]:
    """What a balance makes of gradients; the first task is the primary."""

    def made(balance: Balance | Balancer, rows: Mapping[str, Sequence[float]], **changes: Any) -> Tensor:
        working = balance.start(Setting(next(iter(rows)), tuple(rows))) if isinstance(balance, Balance) else balance
        first, second = (nn.Parameter(torch.zeros(part)) for part in (1, len(next(iter(rows.values()))) - 1))
        both = torch.cat([first, second])
        assert working.backward(describe({task: torch.tensor(row) @ both for task, row in rows.items()}, [first, second], **changes))
        assert first.grad is not None
        assert second.grad is not None
        return torch.cat([first.grad, second.grad])

    return made
