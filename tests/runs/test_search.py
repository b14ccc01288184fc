"""Whole runs of a tiny search: what is left in the folder, what was learned, and what is the same as what."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import graphnas as gn
from graphnas.errors import PruneError, RunError, SpecError
from graphnas.report import write_report
from graphnas.runs import prune_run
from graphnas.search import checkpoint
from graphnas.search.loop import Loop

Make = Callable[..., gn.SearchSpec]
Rows = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def finished(shared: Path, make_spec: Make, data: Any) -> Path:
    """One run that several tests look at."""
    if not (shared / "run").exists():
        gn.search(make_spec(), data=data, out=shared / "run")
    return shared / "run"


def test_what_a_run_leaves(finished: Path) -> None:
    files = ["spec.json", "metrics.jsonl", "events", "checkpoint.safetensors", "checkpoint.json", "phases", "results.json", "artifact"]
    assert [name for name in files if not (finished / name).exists()] == []
    assert {path.name for path in (finished / "artifact").iterdir()} == {"model.safetensors", "spec.json", "certificate.json"}
    assert not [path for path in finished.rglob("*") if path.suffix in (".pt", ".pth", ".pkl")]
    assert gn.load_spec(finished / "spec.json", kind="search").kind == "search"


def test_the_page_of_the_run_is_there_without_the_command_line(finished: Path, tmp_path: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "The network that is shipped reaches rel" in page
    assert page == write_report(finished, tmp_path / "again.html").read_text()


def test_the_table(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert results["split"] == "test"
    assert results["metric"] == "rel"
    single, supernet, pruned = results["rows"]
    assert [row["name"] for row in results["rows"]] == ["single-task", "supernet", "pruned"]
    assert (single["macs"], single["parameters"]) == (pruned["macs"], pruned["parameters"])
    assert supernet["macs"] > pruned["macs"]
    assert next(iter(pruned["metrics"])) == "rel"
    assert results["primary_batches"] == 16
    assert set(results["seconds"]) == {"single-task", "search"}
    assert results["certificate"]["holds"]
    assert set(results["auxiliaries"]) == {"seg"}


def test_the_artifact_loads_strictly_into_the_users_own_network(finished: Path) -> None:
    module = gn.load(finished / "artifact")
    state = load_file(finished / "artifact" / "model.safetensors")
    parts = [key.rpartition(".")[0] for key in module.state_dict()]
    assert list(dict.fromkeys(parts)) == ["conv1", "norm1", "conv2", "norm2", "head"]
    module.load_state_dict(state, strict=True)


def test_proximal_gates_end_at_exactly_zero_and_the_cut_changes_nothing(finished: Path, metrics: Rows) -> None:
    late = [row for row in metrics(finished) if row["phase"] == "search" and row["split"] == "validation" and row["task"] == "depth"][2:]
    assert [row["gates"]["a2p"] for row in late] == [0.0, 0.0]
    assert [row["cut_gap"] for row in late] == [0.0, 0.0]
    assert json.loads((finished / "results.json").read_text())["cut_gap"] == 0.0
    assert json.loads((finished / "artifact" / "certificate.json").read_text())["cut_gap"] == 0.0


def test_metrics_have_one_row_for_each_epoch_task_and_split(finished: Path, metrics: Rows) -> None:
    keys = [(row["phase"], row["epoch"], row["split"], row["task"]) for row in metrics(finished)]
    expected = [("single-task", epoch, split, "depth") for epoch in (1, 2, 3, 4) for split in ("training", "validation")]
    both = [(split, task) for split in ("training", "validation") for task in ("depth", "seg")]
    expected += [("search", epoch, split, task) for epoch in (1, 2, 3, 4) for split, task in both]
    assert keys == expected


def test_what_is_selected_is_the_best_cut_network_after_the_ramp(finished: Path, metrics: Rows, data: Any) -> None:
    selected = json.loads((finished / "results.json").read_text())["selected"]
    rows = [row for row in metrics(finished) if row["phase"] == "search" and row["split"] == "validation" and row["task"] == "depth"]
    late = {row["epoch"]: row["cut_metrics"]["rel"] for row in rows if row["step"] / 16 >= 0.6}
    best = min(late, key=lambda epoch: late[epoch])
    assert selected == {"value": late[best], "step": 4 * best, "epoch": best}
    assert gn.evaluate(finished, split="validation", data=data).metrics["rel"] == pytest.approx(late[best], abs=1e-6)


def test_the_same_seed_gives_the_same_artifact_and_another_does_not(
    finished: Path, tmp_path: Path, make_spec: Make, data: Any, metrics: Rows
) -> None:
    gn.search(make_spec(), data=data, out=tmp_path / "again")
    assert metrics(tmp_path / "again") == metrics(finished)
    model = Path("artifact", "model.safetensors")
    assert (tmp_path / "again" / model).read_bytes() == (finished / model).read_bytes()
    gn.search(make_spec({"seed": 1}), data=data, out=tmp_path / "other")
    assert (tmp_path / "other" / model).read_bytes() != (finished / model).read_bytes()


def test_a_search_leaves_the_callers_generators_and_threads_alone(
    tmp_path: Path, make_spec: Make, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    gn.search(make_spec({"training.epochs": 1, "baseline": "none", "space.links": [], "runtime.threads": 7}), data=data, out=tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert set_to == [7, torch.get_num_threads()]


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, torch.Tensor]]:
    """Phase -> the state that its network has at its beginning."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    original = Loop.run

    def run(loop: Loop) -> bool:
        phase = loop._phase
        found[phase.name] = {name: tensor.clone() for name, tensor in phase.learner.network.state_dict().items()}
        return original(loop)

    monkeypatch.setattr(Loop, "run", run)
    return found


def test_baseline_and_search_start_from_the_same_primary(tmp_path: Path, make_spec: Make, data: Any, starts: Any) -> None:
    gn.search(make_spec(), data=data, out=tmp_path / "run")
    single = starts["single-task"]
    assert len(single) == 16
    assert all(torch.equal(starts["search"][name], tensor) for name, tensor in single.items())


def test_alternation_gives_the_baseline_as_many_primary_batches(tmp_path: Path, make_spec: Make, data: Any, metrics: Rows) -> None:
    gn.search(make_spec({"training.updates": "alternate"}), data=data, out=tmp_path / "run")
    steps = {row["phase"]: row["step"] for row in metrics(tmp_path / "run")}
    assert steps == {"single-task": 16, "search": 8}
    assert json.loads((tmp_path / "run" / "results.json").read_text())["primary_batches"] == 16


def test_without_alphas_alternation_gives_all_samples_to_the_weights(tmp_path: Path, make_spec: Make, data: Any, metrics: Rows) -> None:
    link = {"direction": "primary -> auxiliary", "operations": ["identity"], "gate": {"function": "fixed"}, "converges_to": "free"}
    changes = {"training.updates": "alternate", "training.optimizers.alphas": None, "space.links": [link], "baseline": "none"}
    gn.search(make_spec(changes), data=data, out=tmp_path / "run")
    assert {row["phase"]: row["step"] for row in metrics(tmp_path / "run")} == {"search": 16}
    assert [row["name"] for row in json.loads((tmp_path / "run" / "results.json").read_text())["rows"]] == ["supernet", "pruned"]


def test_alphas_need_an_optimizer(make_spec: Make, data: Any, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        gn.search(make_spec({"training.optimizers.alphas": None}), data=data, out=tmp_path / "run")
    assert str(caught.value) == (
        "training.optimizers.alphas: no optimizer is given for the alphas of 4 links\n  fix: alphas: {type: adam, lr: 1e-2}"
    )
    assert not (tmp_path / "run").exists()


def test_globs_that_match_no_parameter_are_found_before_anything_is_written(make_spec: Make, data: Any, tmp_path: Path) -> None:
    changes = {
        "training.optimizers.weights.groups": {"**.haed.**": {"lr": 1e-3}, "joints.**": {"lr": 1e-3}, "hed.weight": {}},
        "training.finetune": {"epochs": 1, "optimizer": {"type": "sgd", "lr": 0.1, "groups": {"branches.seg.**": {}}}},
    }
    with pytest.raises(SpecError) as caught:
        gn.search(make_spec(changes), data=data, out=tmp_path / "run")
    assert [problem.path for problem in caught.value.problems] == [
        "training.optimizers.weights.groups.**.haed.**",
        "training.optimizers.weights.groups.hed.weight",
        "training.finetune.optimizer.groups.branches.seg.**",
    ]
    assert str(caught.value.problems[1]) == (
        "training.optimizers.weights.groups.hed.weight: 'hed.weight' matches no parameter\n  fix: did you mean 'head.weight'?"
    )
    assert not (tmp_path / "run").exists()


def test_a_group_may_be_of_links_that_the_baseline_has_not(make_spec: Make, data: Any, tmp_path: Path) -> None:
    changes = {"training.optimizers.weights.groups": {"joints.**": {"lr": 1e-3}}, "training.epochs": 1, "training.select": "last"}
    links = [make_spec().space.links[1].model_dump(mode="json", by_alias=True)]
    result = gn.search(make_spec({**changes, "space.links": links}), data=data, out=tmp_path)
    assert {row["name"] for row in result.rows} == {"single-task", "supernet", "pruned"}


def test_weights_that_are_no_numbers_are_never_saved(make_spec: Make, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(learner: Any, batches: Any, progress: float) -> dict[str, float]:
        if progress >= 5 / 16:
            with torch.no_grad():
                next(learner.network.parameters()).fill_(float("nan"))
        return {"depth": 1.0}

    monkeypatch.setattr("graphnas.search.loop._step", explode)
    run = tmp_path / "run"
    with pytest.raises(RunError) as caught:
        gn.search(make_spec({"baseline": "none"}), data=data, out=run)
    assert str(caught.value) == (
        f"search, step 8: branches.depth.conv1.weight is not finite; last good checkpoint: {run}/checkpoint.safetensors, step 4\n"
        "  fix: lower training.optimizers.weights.lr or set training.clip_gradient"
    )


def test_every_task_may_be_trained_alone_first(tmp_path: Path, make_spec: Make, data: Any, starts: Any) -> None:
    result = gn.search(make_spec({"start_from": "single-task"}), data=data, out=tmp_path / "run")
    assert list(starts) == ["single-task", "single-task-seg", "search"]
    for phase in ("single-task", "single-task-seg"):
        saved = checkpoint.load(tmp_path / "run" / "phases" / phase)
        assert saved is not None
        selected = {name.removeprefix("best/"): tensor for name, tensor in saved.tensors.items() if name.startswith("best/")}
        assert len(selected) == 16
        assert all(torch.equal(starts["search"][name], tensor) for name, tensor in selected.items())
    single, _, pruned = result.rows
    seconds = result.details["seconds"]
    assert single["seconds"] == seconds["single-task"]["training"]
    assert pruned["seconds"] == pytest.approx(sum(phase["training"] for phase in seconds.values()))


def test_a_network_may_start_from_an_artifact(finished: Path, tmp_path: Path, make_spec: Make, data: Any, starts: Any) -> None:
    use = {**make_spec().networks["*"].model_dump(mode="json", by_alias=True), "start_from": str(finished / "artifact")}
    gn.search(
        make_spec({"networks.depth": use, "training.epochs": 1, "training.select": "last", "space.links": []}), data=data, out=tmp_path
    )
    for name, tensor in load_file(finished / "artifact" / "model.safetensors").items():
        assert torch.equal(starts["single-task"][f"branches.depth.{name}"], tensor)
        assert torch.equal(starts["search"][f"branches.depth.{name}"], tensor)


@pytest.mark.parametrize("inference", ["primary+fusion", "all"])
def test_more_than_the_primary_may_be_kept(inference: str, tmp_path: Path, make_spec: Make, data: Any) -> None:
    link = {"direction": "auxiliary -> primary", "operations": ["conv1x1"], "converges_to": "free" if inference == "all" else "zero"}
    space = {
        "kind": "search_space",
        "constraints": {"inference": inference},
        "links": [{**link, "tolerance": 9}],
        "fusion": {"norm": "batch_norm"},
    }
    result = gn.search(make_spec({"space": space, "training.epochs": 1, "training.select": "last"}), data=data, out=tmp_path / "run")
    assert not result.certificate.holds
    assert (result.cut_gap == 0.0) == (inference == "all")
    assert gn.evaluate(tmp_path / "run", data=data).metrics == result.rows[-1]["metrics"]


def test_fine_tuning_trains_the_cut_primary_and_the_baseline_alike(tmp_path: Path, make_spec: Make, data: Any, metrics: Rows) -> None:
    finetune = {"epochs": 2, "optimizer": {"type": "sgd", "lr": 1e-3}}
    result = gn.search(make_spec({"training.finetune": finetune}), data=data, out=tmp_path / "run")
    steps = {row["phase"]: row["step"] for row in metrics(tmp_path / "run")}
    assert steps == {"single-task": 16, "single-task-finetune": 8, "search": 16, "finetune": 8}
    tuned, before = (checkpoint.load(tmp_path / "run" / "phases" / name) for name in ("finetune", "search"))
    assert tuned is not None
    assert before is not None
    assert not [name for name in tuned.tensors if name.startswith("network/branches.seg")]
    state = load_file(tmp_path / "run" / "artifact" / "model.safetensors")
    best = "best/branches.depth.conv1.weight"
    assert torch.equal(state["conv1.weight"], tuned.tensors[best])
    assert not torch.equal(state["conv1.weight"], before.tensors[best])
    assert result.cut_gap == 0.0
    assert result.certificate.holds


def test_a_run_that_has_not_converged_is_kept_and_can_be_forced(tmp_path: Path, make_spec: Make, data: Any) -> None:
    spec = make_spec({"space.links": [{**make_spec().space.links[0].model_dump(mode="json", by_alias=True), "penalty": None}]})
    with pytest.raises(PruneError) as caught:
        gn.search(spec, data=data, out=tmp_path / "run")
    assert "links[0].converges_to: 2 of 2 links have not converged to zero" in str(caught.value)
    assert not (tmp_path / "run" / "artifact").exists()
    result = prune_run(tmp_path / "run", force=True, data=data)
    assert result.certificate.forced
    assert result.cut_gap is not None
    assert result.cut_gap != 0.0
    assert gn.evaluate(tmp_path / "run", data=data).metrics == result.rows[-1]["metrics"]


def test_fifty_steps_on_eight_samples_overfit_them(tmp_path: Path, make_spec: Make, data: Any, metrics: Rows) -> None:
    changes = {
        "task_pair.transforms": [],
        "training.epochs": None,
        "training.steps": 50,
        "training.batch_size": 8,
        "training.auxiliary_batch_size": 0,
        "training.evaluate_every": {"epochs": 50},
        "baseline": "none",
        "networks.*.use.nodes.drop": {"op": "dropout", "p": 0.0},
    }
    spec = make_spec({"training.optimizers.weights": {"type": "adamw", "lr": 3e-2, "schedule": "cosine"}, **changes})
    gn.search(spec, data=data, out=tmp_path / "run")
    losses = [row["loss"] for row in metrics(tmp_path / "run") if row["split"] == "training" and row["task"] == "depth"]
    assert len(losses) == 50
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_trains_and_resumes(precision: str, tmp_path: Path, make_spec: Make, data: Any) -> None:
    result = gn.search(make_spec({"runtime.precision": precision}), data=data, out=tmp_path / "run")
    again = gn.search(make_spec({"runtime.precision": precision}), data=data, out=tmp_path / "run", resume=True)
    assert result.rows == again.rows
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in result.pruned.module.state_dict().values())


class Own(torch.nn.Module):
    """A user's network, whose input has a name of its own."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 6, 3, padding=1)
        self.second = torch.nn.Conv2d(6, 8, 3, padding=1)
        self.last = torch.nn.Conv2d(8, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x).relu()).relu())


def test_networks_of_the_users_own_are_not_changed_and_come_back(tmp_path: Path, make_spec: Make, data: Any) -> None:
    own = Own(1)
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    branch = gn.Branch.from_module(own, taps={"s1": ["first"], "s2": ["second"]}, example=torch.rand(2, 3, 12, 16))
    spec = make_spec({"networks": {"seg": make_spec().networks["*"].model_dump(mode="json", by_alias=True)}})
    result = gn.search(spec, networks={"depth": branch}, data=data, out=tmp_path / "run")
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.state_dict().items())
    assert result.certificate.holds
    assert "seg: spelled out; depth: given from Python" in (tmp_path / "run" / "report.html").read_text()
    fresh = Own(1)
    fresh.load_state_dict(load_file(tmp_path / "run" / "artifact" / "model.safetensors"), strict=True)
    assert not torch.equal(fresh.first.weight, own.first.weight)
    found = gn.evaluate(tmp_path / "run", networks={"depth": branch}, data=data)
    assert found.metrics == result.rows[-1]["metrics"]
    assert gn.evaluate(tmp_path / "run", into=Own(1), data=data) == found
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.state_dict().items())
