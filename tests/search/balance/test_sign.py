"""GradDrop: one sign an entry, as often as it weighs."""

from __future__ import annotations

from typing import Any

import torch
from torch.testing import assert_close

from graphnas.search.balance import Setting


def test_gradients_of_one_sign_are_added(make: Any, gradient: Any) -> None:
    assert_close(gradient(make("graddrop"), {"p": [1.0, -2.0, 0.0], "a": [3.0, -1.0, 5.0]}), torch.tensor([4.0, -3.0, 5.0]))


def test_a_sign_is_drawn_as_often_as_its_share(make: Any, gradient: Any) -> None:
    size = 4000
    working = make("graddrop").start(Setting("p", ("p", "a")))
    found = gradient(working, {"p": [3.0] * size, "a": [-1.0] * size})
    assert set(found.tolist()) == {3.0, -1.0}
    assert abs((found > 0).float().mean().item() - 0.75) < 4 * (0.75 * 0.25 / size) ** 0.5
    assert not torch.equal(found, gradient(working, {"p": [3.0] * size, "a": [-1.0] * size}))
