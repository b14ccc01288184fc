"""Several batches an update, and alpha steps in every n-th: against one large batch, and which batch is for what."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from graphnas.data import Batch
from graphnas.search.budget import Budget, budget, same_labels
from graphnas.search.draw import draws
from graphnas.search.step import alternate_step, joint_step, weight_step
from tests.builders import image
from tests.search.test_apart import learner_of
from tests.search.test_parts import make

SAMPLES = image(6, 3, 6, 6).double()
LABELS = {"p": [0, 1, 2, 5], "q": [0, 3, 4], "r": [5]}


def part(*rows: int) -> Batch:
    """Some of the samples, with the labels that they have."""
    found = {task: [i for i, row in enumerate(rows) if row in labeled] for task, labeled in LABELS.items()}
    found = {task: positions for task, positions in found.items() if positions}
    targets = {task: torch.stack([torch.full((2, 6, 6), 0.1 * rows[i], dtype=torch.float64) for i in at]) for task, at in found.items()}
    positions = {task: torch.tensor(at) for task, at in found.items()}
    return Batch({"image": SAMPLES[list(rows)]}, targets, positions, tuple(f"s/{row}" for row in rows))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("updates", ["joint", "alternate", "weights"])
def test_accumulated_is_one_large_batch(updates: str, apart: bool) -> None:
    """Labels are missing in some of the batches: every sample counts the same."""
    net = make(penalty={"type": "l1", "strength": 2, "of": "contribution"})
    other = copy.deepcopy(net)
    whole, parts = part(0, 1, 2, 3, 4, 5), [part(0, 1, 4), part(2), part(3, 5)]
    found: list[dict[str, float]] = []
    for network, batches in ((net, parts), (other, [whole])):
        learner = learner_of(network, apart)
        if updates == "joint":
            found.append(joint_step(learner, batches, 0.4))
        elif updates == "weights":
            found.append(weight_step(learner, batches, 0.4))
        else:
            found.append(alternate_step(learner, batches, batches, 0.4))
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    expected = other.state_dict()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-7, atol=1e-9)  # task types get their predictions in float32


def test_a_weight_step_leaves_the_alphas_alone() -> None:
    net = make()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    weight_step(learner_of(net, True), part(0, 1, 2, 3, 4, 5), 0.4)
    alphas = {name for name, _ in net.named_parameters() if name.endswith("alpha")}
    changed = {name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])}
    assert alphas
    assert alphas.isdisjoint(changed)
    assert changed
    assert all(parameter.requires_grad for parameter in net.parameters())


class Numbered:
    """Epochs of so many batches, by their numbers."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def training(self, epoch: int, *, halves: bool, start: int, **options: Any) -> Any:
        numbers = list(range(self.batches))
        if not halves:
            return iter(numbers[start:])
        middle = self.batches // 2
        return iter(list(zip(numbers[:middle], numbers[middle : 2 * middle], strict=True))[start:])


def drawn(batches: int, length: Budget, start: int = 0) -> list[tuple[Any, Any, bool]]:
    data: Any = Numbered(batches)
    made = draws(data, length, 0, start=start, batch_size=1, auxiliary_batch_size=0, workers=0)
    found = [(draw.alphas, draw.weights, draw.step_alphas) for draw, _ in zip(made, range(length.steps_per_epoch - start), strict=False)]
    assert len(found) == length.steps_per_epoch - start
    return found


@pytest.mark.parametrize(
    ("batches", "alternating", "accumulate", "every", "expected"),
    [
        (4, False, 1, 1, [((), (0,), True), ((), (1,), True), ((), (2,), True), ((), (3,), True)]),
        (5, False, 2, 1, [((), (0, 1), True), ((), (2, 3), True)]),
        (4, False, 1, 3, [((), (0,), True), ((), (1,), False), ((), (2,), False), ((), (3,), True)]),
        (5, True, 1, 1, [((0,), (2,), True), ((1,), (3,), True)]),
        (9, True, 2, 1, [((0, 1), (4, 5), True), ((2, 3), (6, 7), True)]),
        (7, True, 1, 3, [((0,), (1,), True), ((), (2,), False), ((), (3,), False), ((4,), (5,), True), ((), (6,), False)]),
        (8, True, 2, 2, [((0, 1), (2, 3), True), ((), (4, 5), False)]),
    ],
)
def test_which_batch_is_for_what(batches: int, alternating: bool, accumulate: int, every: int, expected: Any) -> None:
    length = budget(batches, epochs=2, steps=None, alternating=alternating, accumulate=accumulate, alphas_every=every)
    assert length.steps_per_epoch == len(expected)
    assert drawn(batches, length) == expected
    for start in range(1, len(expected)):
        assert drawn(batches, length, start) == expected[start:]
    assert length.primary_batches == 2 * sum(len(alphas) + len(weights) for alphas, weights, _ in expected)


def test_the_baseline_has_as_many_batches() -> None:
    search = budget(7, epochs=None, steps=8, alternating=True, alphas_every=3)
    assert search.primary_batches == 7 + 4
    assert same_labels(search, 7) == Budget(11, 7)
    assert same_labels(budget(8, epochs=3, steps=None, alternating=True, accumulate=2), 8) == Budget(12, 4, accumulate=2)


def test_shares_of_a_task_without_labels_are_not_asked_for() -> None:
    net = make()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    assert list(joint_step(learner_of(net, True), [part(1), part(2)], 0.4)) == ["p"]
    changed: dict[str, Tensor] = {name: value for name, value in net.named_parameters() if not torch.equal(value, before[name])}
    assert not [name for name in changed if name.startswith(("branches.q.head", "branches.r.head"))]
