"""What every registered balance promises: the same seed the same steps, a checkpoint that goes on bit for bit, a round trip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphnas.registry import balances
from graphnas.search.balance import Balancer, Setting
from graphnas.search.checkpoint import load, save
from tests.search.test_loop import Trial

TASKS = ("p", "a", "b")
EVERY = [name for name in balances.names() if ":" not in name]


def stepped(working: Balancer, x: nn.Parameter, generator: torch.Generator, describe: Any, count: int) -> list[list[float]]:
    """Steps of plain descent on three quadratics of random ends, every third without one auxiliary, every fifth without the primary."""
    found: list[list[float]] = []
    learned = list(working.named_parameters().values())
    for step in range(count):
        ends = torch.randn(3, 4, generator=generator)
        present = [task for task in TASKS if not (step % 3 == 2 and task == "b") and not (step % 5 == 4 and task == "p")]

        def losses(ends: Tensor = ends, present: list[str] = present) -> dict[str, Tensor]:
            return {task: (x - ends[TASKS.index(task)]).square().sum() + 0.1 for task in present}

        for parameter in (x, *learned):
            parameter.grad = None
        descent = describe(losses(), [x], again=losses, held_out=losses)
        assert working.backward(descent)
        with torch.no_grad():
            for parameter in (x, *learned):
                if parameter.grad is not None:
                    parameter.sub_(0.05 * parameter.grad)
        working.after_step(descent)
        if step % 4 == 3:
            working.after_epoch()
        assert bool(torch.isfinite(x).all())
        found.append(x.tolist())
    return found


@pytest.mark.parametrize("name", EVERY)
def test_it_goes_on_from_its_state_as_if_it_had_not_stopped(name: str, make: Any, describe: Any, tmp_path: Path) -> None:
    setting = Setting("p", TASKS, seed=3)
    working, x, generator = make(name).start(setting), nn.Parameter(torch.zeros(4)), torch.Generator().manual_seed(0)
    stepped(working, x, generator, describe, 12)
    save(tmp_path / "state", {"x": x.detach(), "generator": generator.get_state(), **working.state()}, {})
    expected = stepped(working, x, generator, describe, 12)
    saved = load(tmp_path / "state")
    assert saved is not None
    state = dict(saved.tensors)
    again, y, generator = make(name).start(setting), nn.Parameter(state.pop("x")), torch.Generator()
    generator.set_state(state.pop("generator"))
    torch.manual_seed(99)
    again.restore(state)
    assert stepped(again, y, generator, describe, 12) == expected
    assert {key: tensor.tolist() for key, tensor in again.state().items()} == {
        key: tensor.tolist() for key, tensor in working.state().items()
    }


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("updates", ["joint", "alternate"])
def test_a_run_that_was_interrupted_ends_bit_for_bit_as_one_that_was_not(
    name: str, updates: str, tmp_path: Path, toy: Any, toy_data: Any
) -> None:
    straight = Trial(tmp_path / "straight", toy, toy_data(), updates, balance=name)
    expected, _ = straight.run()
    broken = Trial(tmp_path / "broken", toy, toy_data(fail_at=(3, 1)), updates, balance=name)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    torch.manual_seed(99)
    broken.data = toy_data()
    found, _ = broken.run()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
    assert broken.metrics() == straight.metrics()


@pytest.mark.parametrize("name", EVERY)
def test_random_numbers_of_training_stay_as_they_were(name: str, make: Any, describe: Any) -> None:
    working, x = make(name).start(Setting("p", TASKS, seed=3)), nn.Parameter(torch.zeros(4))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    stepped(working, x, torch.Generator().manual_seed(0), describe, 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", EVERY)
def test_alphas_follow_the_weighted_sum(name: str, make: Any) -> None:
    working = make(name, weights={"a": {"start": 4, "end": 0}}).start(Setting("p", TASKS))
    assert working.weighted_sum({"p": torch.tensor(1.0), "a": torch.tensor(10.0)}, 0.5).item() == 21.0


@pytest.mark.parametrize("name", EVERY)
def test_round_trip(name: str) -> None:
    cls = balances.get(name)
    balance = cls.model_validate({"type": name, "weights": {"a": 3}})
    assert cls.model_validate(json.loads(balance.model_dump_json(by_alias=True))) == balance


@pytest.mark.parametrize("name", EVERY)
def test_it_says_what_it_is_and_where_it_is_from(name: str) -> None:
    text = balances.get(name).__doc__
    assert text is not None
    assert len(text.splitlines()[0]) <= 140
    assert name == "sum" or "arXiv" in text or "ICLR" in text or "CVPR" in text
