"""Searches with some of the auxiliaries: what concerns the others is taken out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import graphnas as gn
from graphnas.compare.arms import arm_of, plan_arms, with_auxiliaries
from graphnas.compare.plan import single_task
from tests.compare.conftest import write_search
from tests.runs.conftest import NETWORK, SPACE

SEG = {"type": "semantic_segmentation", "key": "seg.png", "classes": 3}


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(*auxiliaries: str, changes: dict[str, Any] | None = None) -> Path:
    """A search with these auxiliaries."""
    tasks = {f"task_pair.tasks.{task}": SEG for task in auxiliaries}
    return write_search(Path(), {"task_pair.tasks.seg": None, **tasks, **(changes or {})})


def spec_of(*auxiliaries: str, changes: dict[str, Any] | None = None) -> gn.SearchSpec:
    loaded = gn.load_spec(written(*auxiliaries, changes=changes), kind="search")
    assert isinstance(loaded, gn.SearchSpec)
    return loaded


@pytest.mark.parametrize(
    ("auxiliaries", "arms"),
    [
        (("a",), ["single-task", "all"]),
        (("a", "b"), ["single-task", "all", "without-a", "without-b"]),
        (("a", "b", "c"), ["single-task", "all", "without-a", "without-b", "without-c", "only-a", "only-b", "only-c"]),
    ],
)
def test_the_arms(auxiliaries: tuple[str, ...], arms: list[str]) -> None:
    plan = plan_arms(written(*auxiliaries), seeds=2)
    assert list(plan.methods) == arms
    assert [variant.folder for variant in plan.variants] == arms
    assert plan.attributes == auxiliaries
    assert len(plan.cells()) == 2 * len(arms)
    tasks = {variant.method: set(variant.spec.task_pair.tasks) - {"depth"} for variant in plan.variants}
    assert tasks["all"] == set(auxiliaries)
    for task in auxiliaries:
        assert tasks[arm_of([task], auxiliaries)] == {task}
        assert tasks[arm_of([other for other in auxiliaries if other != task], auxiliaries)] == set(auxiliaries) - {task}


def test_an_arm_is_the_search_that_one_would_write() -> None:
    named = {**SPACE["links"][1], "direction": "depth -> b"}
    changes = {
        "networks": {"*": {"use": NETWORK}, "b": {"use": NETWORK}},
        "space": {**SPACE, "links": [SPACE["links"][0], named]},
        "balance": {"type": "sum", "weights": {"depth": 2, "a": 3, "b": 4}},
        "training.optimizers.weights": {"type": "adamw", "lr": 1e-2, "groups": {"branches.b.**": {"lr": 1e-3}, "**.head.**": {"lr": 1e-4}}},
    }
    without = {
        **changes,
        "networks": {"*": {"use": NETWORK}},
        "space": {**SPACE, "links": [SPACE["links"][0]]},
        "balance": {"type": "sum", "weights": {"depth": 2, "a": 3}},
        "training.optimizers.weights": {"type": "adamw", "lr": 1e-2, "groups": {"**.head.**": {"lr": 1e-4}}},
    }
    assert gn.dump_spec(with_auxiliaries(spec_of("a", "b", changes=changes), ["a"])) == gn.dump_spec(spec_of("a", changes=without))


def test_all_and_none_are_the_search_and_the_single_task() -> None:
    spec = spec_of("a", "b")
    assert gn.dump_spec(with_auxiliaries(spec, ["a", "b"])) == gn.dump_spec(spec)
    assert gn.dump_spec(with_auxiliaries(spec, [])) == gn.dump_spec(single_task(spec))


def test_gradients_are_compared_once_an_epoch_unless_the_spec_says_how_often() -> None:
    def every(file: Path) -> list[Any]:
        runtimes = [variant.spec.runtime.log_gradients for variant in plan_arms(file, seeds=1).variants]
        return [None if found is None else found.model_dump(exclude_none=True) for found in runtimes]

    assert every(written("a", "b")) == [None, {"epochs": 1}, {"epochs": 1}, {"epochs": 1}]
    assert every(written("a", changes={"runtime.log_gradients": {"steps": 7}})) == [{"steps": 7}, {"steps": 7}]


def refused(file: Path, **options: Any) -> str:
    with pytest.raises(gn.GraphNASError) as caught:
        plan_arms(file, **options)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_refusals() -> None:
    file = written("a", "b")
    assert refused(file, seeds=0) == "--seeds: at least one seed is needed, got 0\n  fix: --seeds 5"
    said = "--confidence: one seed has no interval: there is nothing to tell its spread by\n  fix: --seeds 5"
    assert refused(file, seeds=1, confidence=0.9) == said
    message = "tasks: there is no auxiliary task, which an attribution needs\n  fix: name a task beside the primary"
    assert re.sub(r"^search.json:[0-9:]+ (task_pair.)?", "", refused(written())) == message
