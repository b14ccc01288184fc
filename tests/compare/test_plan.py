"""What a comparison runs: the same primary, data and schedule for every method, and a single task that all share."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import graphnas as gn
from graphnas.compare import make_plan, read_methods, read_vary
from graphnas.compare.plan import Plan, Variant, cell_of, longer
from graphnas.data import open_data
from tests.compare.conftest import write_search
from tests.runs.conftest import NETWORK, changed

METHODS = ("./toy-space.json", "aux-head", "aux-nas-mix")


def plan_of(*methods: str, **options: Any) -> Plan:
    return make_plan("search.json", read_methods(methods or METHODS), **options)


def by_method(plan: Plan) -> dict[str, Variant]:
    return {variant.method: variant for variant in plan.variants}


def test_all_methods_of_a_seed_start_from_the_same_primary(folder: Path) -> None:
    plan = plan_of(seeds=2)
    assert plan.methods == ("single-task", "toy-space", "aux-head", "aux-nas-mix")
    states: dict[int, dict[str, dict[str, torch.Tensor]]] = {}
    for seed in plan.seeds:
        for variant in plan.variants:
            branch = gn.compile(cell_of(variant, seed).spec).get_submodule("branches.depth")
            states.setdefault(seed, {})[variant.method] = branch.state_dict()
    for found in states.values():
        for state in found.values():
            assert list(state) == list(found["single-task"])
            assert all(torch.equal(state[name], tensor) for name, tensor in found["single-task"].items())
    assert not torch.equal(states[0]["aux-head"]["conv1.weight"], states[1]["aux-head"]["conv1.weight"])


def batches_of(spec: gn.SearchSpec, epoch: int) -> list[tuple[tuple[str, ...], torch.Tensor]]:
    """Names and pixels of the samples with the primary's label, batch by batch, augmented as in training."""
    data = open_data(spec.task_pair, seed=spec.seed)
    size = spec.training.batch_size
    found = data.training(epoch, batch_size=size, auxiliary_batch_size=spec.training.auxiliary_batch_size)
    return [(batch.ids[:size], batch.inputs["image"][:size]) for batch in found]


def test_all_methods_of_a_seed_see_the_same_samples_in_the_same_order(folder: Path) -> None:
    plan = plan_of(seeds=1)
    for epoch in (0, 1):
        found = [batches_of(variant.spec, epoch) for variant in plan.variants]
        assert [ids for ids, _ in found[0]] == [ids for ids, _ in found[1]] == [ids for ids, _ in found[3]]
        for other in found[1:]:
            assert all(torch.equal(mine, theirs) for (_, mine), (_, theirs) in zip(found[0], other, strict=True))


def test_labels_by_the_seed_of_the_run_are_those_of_all_methods(folder: Path) -> None:
    plan = plan_of(seeds=3, overrides=["task_pair.tasks.depth.labeled={count: 6, seed: run}"])
    known: list[set[str]] = []
    for seed in plan.seeds:
        found = [{name for ids, _ in batches_of(cell_of(variant, seed).spec, 0) for name in ids} for variant in plan.variants]
        assert len(found[0]) == 6
        assert all(names == found[0] for names in found)
        known.append(found[0])
    assert known[0] != known[1] != known[2] != known[0]


@pytest.mark.slow
def test_the_single_task_is_the_baseline_of_a_search(folder: Path) -> None:
    """What ``graphnas search`` trains to compare with; without dropout, whose draws depend on the name of a phase."""
    write_search(folder, {"networks": {"*": {"use": changed(NETWORK, {"nodes.drop.p": 0})}}})
    variants = by_method(plan_of("./toy-space.json", seeds=1))
    gn.search(variants["toy-space"].spec.model_copy(update={"baseline": "single-task"}), out="search")
    gn.search(variants["single-task"].spec, out="cell")
    rows = json.loads(Path("search/results.json").read_text())["rows"]
    baseline = next(row for row in rows if row["name"] == "single-task")
    cell = next(row for row in json.loads(Path("cell/results.json").read_text())["rows"] if row["name"] == "pruned")
    assert (cell["metrics"], cell["macs"]) == (baseline["metrics"], baseline["macs"])


def test_only_what_differs_differs(folder: Path) -> None:
    Path("methods.yaml").write_text("heavy: {space: ./toy-space.json, set: {balance.weights.seg: 3, training.clip_gradient: 1}}\nown: {}\n")
    plan = make_plan("search.json", read_methods([], Path("methods.yaml")), seeds=3, overrides=["seed=5", "training.batch_size=4"])
    variants = by_method(plan)
    assert plan.seeds == (5, 6, 7)
    assert [cell.folder for cell in plan.cells()] == [f"cells/{m}/seed-{s}" for s in (5, 6, 7) for m in ("single-task", "heavy", "own")]
    heavy, own = variants["heavy"].spec, variants["own"].spec
    assert heavy.space == own.space
    assert (heavy.training.clip_gradient, own.training.clip_gradient) == (1, None)
    assert heavy.balance.weights["seg"].start == 3
    assert own == gn.load_spec("search.json", overrides=["seed=5", "training.batch_size=4", "baseline=none"])
    single = variants["single-task"].spec
    assert (list(single.task_pair.tasks), list(single.networks), single.space.links) == (["depth"], ["depth"], ())
    assert single.training.optimizers.weights == own.training.optimizers.weights


def test_values_that_do_not_concern_the_single_task_share_it(folder: Path) -> None:
    vary = read_vary(["balance.weights.seg=0,1,10", "task_pair.tasks.depth.labeled.count=4,8"])
    plan = plan_of("aux-head", seeds=2, vary=vary)
    assert len(plan.variants) == 2 * 6
    folders = [variant.folder for variant in plan.variants]
    assert list(dict.fromkeys(folders[:6])) == [f"single-task/task_pair.tasks.depth.labeled.count={count}" for count in (4, 8)]
    assert folders[6] == "aux-head/balance.weights.seg=0/task_pair.tasks.depth.labeled.count=4"
    assert len(plan.cells()) == 2 * (2 + 6)
    for variant in plan.variants[6:]:
        assert variant.spec.balance.weights["seg"].end == variant.values["balance.weights.seg"]
        assert plan.baseline_of(variant).spec.task_pair.tasks["depth"] == variant.spec.task_pair.tasks["depth"]


def test_values_are_yaml() -> None:
    assert read_vary(["a.b=1, 2.5,[3, 4],x,{y: true}", "c=1e-3"]) == {"a.b": (1, 2.5, [3, 4], "x", {"y": True}), "c": (1e-3,)}


def test_a_longer_single_task_trains_in_whole_epochs(folder: Path) -> None:
    single = plan_of(seeds=1).variants[0]
    made = longer(single, 2.3)
    assert (made.method, made.folder, made.spec.training.epochs) == ("single-task-14-epochs", "single-task-14-epochs", 14)
    assert longer(single, 1.05) is single


WRONG = {
    "no method": ([], {}, "--methods: no method is named\n  fix: --methods aux-nas,aux-head"),
    "unknown": (["aux-nass"], {}, "--methods: unknown method 'aux-nass'\n  fix: did you mean 'aux-nas'?"),
    "zero seeds": (["aux-nas"], {"seeds": 0}, "--seeds: at least one seed is needed, got 0\n  fix: --seeds 5"),
    "called alike": (
        ["aux-nas", "./aux-nas.yaml"], {},
        "--methods: two methods are called 'aux-nas'\n  fix: give one of them another name in a --methods-file",
    ),
    "the single task's name": (
        ["aux-nas", "./single-task.yaml"], {},
        "--methods: './single-task.yaml' has the name of the primary alone\n  fix: give the file another name",
    ),
    "the same folder": (
        ["aux-head"], {"vary": {"task_pair.tasks.seg.key": ("a b", "a_b")}},
        "--vary: 'aux-head, task_pair.tasks.seg.key=a b' and 'aux-head, task_pair.tasks.seg.key=a_b' would have the same folder, "
        "aux-head/task_pair.tasks.seg.key=a_b\n  fix: compare them one after the other, each in a folder of its own",
    ),
    "no file": (["nowhere.yaml"], {}, "--set space: nowhere.yaml: there is no such file (method 'nowhere')"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told(case: str, folder: Path) -> None:
    methods, options, message = WRONG[case]
    with pytest.raises(gn.GraphNASError) as caught:
        make_plan("search.json", read_methods(methods), **options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "--vary: expected FIELD=V1,V2, got 'a'\n  fix: --vary training.batch_size=8,16"),
        ("a=1,1", "--vary a=1,1: a value is named twice\n  fix: name each once"),
    ],
)
def test_values_that_are_wrong(text: str, message: str) -> None:
    with pytest.raises(gn.GraphNASError) as caught:
        read_vary([text])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task_pair.tasks.seg": None},
            "search.json: tasks: there is no auxiliary task, which method 'aux-head' needs\n  fix: name a task beside the primary",
        ),
        (
            {"training.epochs": None, "training.steps": 8, "training.updates": "alternate"},
            "search.json: training.steps: methods that search take an alpha step before each of these, "
            "from as many labels again: no equal budget\n"
            "  fix: training.epochs, or updates: joint",
        ),
        (
            {"task_pair.sources": {"toy": {"layout": "python"}}},
            "search.json: sources.toy: source 'toy' is given from Python, which the processes of a comparison can't be\n"
            "  fix: a layout that reads files",
        ),
    ],
)
def test_specs_that_can_not_be_compared(changes: dict[str, Any], message: str, folder: Path) -> None:
    write_search(folder, changes)
    with pytest.raises(gn.GraphNASError) as caught:
        plan_of("aux-head")
    assert re.sub(r"json:1:\d+:", "json:", str(caught.value)) == message


def test_a_field_that_a_method_does_not_have(folder: Path) -> None:
    with pytest.raises(gn.SpecError) as caught:
        plan_of("./toy-space.json", "aux-head", vary={"space.links[1].combine": ("mix",)})
    assert str(caught.value) == (
        "--set space.links[1].combine: space.links has no item 1, it has 1 (method 'aux-head')\n  fix: an index from 0 to 0"
    )


METHODS_FILES = {
    "": "methods.yaml: expected methods by their names\n  fix: name: {space: aux-nas, set: {balance.weights.segmentation: 3}}",
    "single-task: aux-nas\n": "methods.yaml:1:1: single-task: 'single-task' is the primary alone, and always there\n  fix: another name",
    "a/b: aux-nas\n": "methods.yaml:1:1: a/b: a method's name is a folder's: letters, digits, '.', '-', '+' and '_'",
    "x: 3\n": "methods.yaml:1:4: x: expected a space or {space, set}, got 3\n"
    "  fix: x: {space: aux-nas, set: {balance.weights.segmentation: 3}}",
    "x: {spce: aux-nas}\n": "methods.yaml:1:5: x: unknown field 'spce'\n  fix: did you mean 'space'?",
    "x: {space: [1]}\n": "methods.yaml:1:12: x.space: expected the name of a space or a file, got a list\n  fix: space: aux-nas",
    "x: {set: 1}\n": "methods.yaml:1:10: x.set: expected fields and their values, got 1\n  fix: set: {balance.weights.segmentation: 3}",
}


@pytest.mark.parametrize("text", METHODS_FILES)
def test_methods_files_that_are_wrong(text: str, folder: Path) -> None:
    Path("methods.yaml").write_text(text)
    with pytest.raises(gn.SpecError) as caught:
        read_methods([], Path("methods.yaml"))
    assert str(caught.value) == METHODS_FILES[text]
