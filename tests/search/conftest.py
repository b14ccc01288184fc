"""Stand-ins: a task whose loss is a mean square, and batches made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphnas.data import Batch
from graphnas.registry import balances
from graphnas.search.balance import Setting
from graphnas.search.precision import Precision
from graphnas.search.step import Learner


class MeanSquare:
    """A task type as far as search needs one."""

    metric_directions = {"square": "min"}

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).square().mean()

    def new_metrics(self) -> _Metrics:
        return _Metrics()


class _Metrics:
    def __init__(self) -> None:
        self.values: list[float] = []

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.values.extend((prediction - target).square().mean(1).tolist())

    def compute(self) -> dict[str, float]:
        return {"square": sum(self.values) / len(self.values)}


class Toy(nn.Module):
    """``p = w_p x``, and an auxiliary that reads it through a gate: ``a = w_a x + alpha p``."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.w_p = nn.Parameter(torch.tensor(2.0))
        self.w_a = nn.Parameter(torch.tensor(-1.0))
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.norm = nn.BatchNorm1d(1, affine=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.norm(torch.cat([x, x]))  # only to watch its running statistics
        p = self.w_p * self.dropout(x)
        return {"p": p, "a": self.w_a * x + self.alpha * p}


def make_batch(x: Sequence[float], targets: Mapping[str, Mapping[int, float]]) -> Batch:
    """A batch of scalars; ``targets``: task -> row -> label."""
    return Batch(
        inputs={"x": torch.tensor(x)[:, None]},
        targets={task: torch.tensor(list(found.values()))[:, None] for task, found in targets.items()},
        rows={task: torch.tensor(list(found), dtype=torch.long) for task, found in targets.items()},
        ids=tuple(f"toy/{row:04}" for row in range(len(x))),
    )


class ToyData:
    """Eight samples in four batches an epoch; the order depends on (seed, epoch) only."""

    def __init__(self, seed: int = 0, fail_at: tuple[int, int] | None = None) -> None:
        self.seed = seed
        self.fail_at = fail_at  # (epoch, position)

    def training(self, epoch: int, *, halves: bool, start: int = 0, **options: Any) -> Iterator[Any]:
        assert set(options) == {"batch_size", "auxiliary_batch_size", "workers"}
        generator = torch.Generator().manual_seed(1000 * self.seed + epoch)
        x = torch.randn(8, generator=generator).tolist()
        batches = [make_batch(x[i : i + 2], {"p": {0: x[i], 1: x[i + 1]}, "a": {1: 1.0}}) for i in (0, 2, 4, 6)]
        items: list[Any] = list(zip(batches[:2], batches[2:], strict=True)) if halves else list(batches)
        for position, item in enumerate(items):
            if (epoch, position) == self.fail_at:
                raise KeyboardInterrupt
            if position >= start:
                yield item

    def evaluation(self, split: str, batch_size: int, workers: int = 0) -> Iterator[Batch]:
        assert split == "validation"
        yield make_batch([1.0, 2.0], {"p": {0: 1.0, 1: 2.0}, "a": {0: 0.0}})
        yield make_batch([3.0], {"p": {0: 3.0}})


@pytest.fixture
def toy() -> Callable[..., tuple[Toy, Learner]]:
    """(the network, its learner), with plain SGD unless said otherwise."""

    def make(
        *,
        rate: float = 0.1,
        alpha_rate: float | None = 0.2,
        optimizer: str = "SGD",
        dropout: float = 0.0,
        balance: str = "sum",
        **options: Any,
    ) -> tuple[Toy, Learner]:
        net = Toy(dropout)
        cls = getattr(torch.optim, optimizer)
        chosen = balances.get(balance).model_validate({"type": balance, "weights": {"a": {"start": 4, "end": 0}}})
        working = chosen.start(Setting("p", ("p", "a"), seed=7))
        learned = [{"params": list(working.named_parameters().items()), "initial_lr": rate}] if working.named_parameters() else []
        weights = cls([*learned, {"params": [("w_p", net.w_p), ("w_a", net.w_a)], "initial_lr": rate}], lr=rate)
        alphas = None if alpha_rate is None else cls([{"params": [("alpha", net.alpha)], "initial_lr": alpha_rate}], lr=alpha_rate)
        learner = Learner(
            network=net,
            tasks={"p": MeanSquare(), "a": MeanSquare()},  # pyright: ignore[reportArgumentType]
            balance=working,
            weights=weights,
            alphas=alphas,
            precision=Precision(torch.device("cpu")),
            **options,
        )
        return net, learner

    return make


@pytest.fixture
def batch() -> Callable[..., Batch]:
    return make_batch


@pytest.fixture
def toy_data() -> type[ToyData]:
    return ToyData
