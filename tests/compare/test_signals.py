"""What a run tells by itself, on one that was really trained: links closed one at a time, cosines, gates; and what it lacks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import graphnas as gn
from graphnas.compare.signals import kept_signals, load_signals, read_signals
from graphnas.runs.ablation import Without, ablate_links
from graphnas.runs.search import restore_run
from graphnas.search.evaluation import score
from graphnas.search.recorder import read_gates, read_gradients
from tests.compare.conftest import write_search


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    file = write_search(folder, {"training.epochs": 3, "baseline": "none", "runtime.log_gradients": {"epochs": 1}})
    gn.search(file, out=folder / "run")
    return folder / "run"


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_a_restored_run_is_what_was_shipped(run: Path) -> None:
    trained = restore_run(run)
    shipped = gn.load(run / "artifact").state_dict()
    own = {name.removeprefix("branches.depth."): value for name, value in trained.net.state_dict().items()}
    assert all(torch.equal(own[name], value) for name, value in shipped.items())
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*")}
    restore_run(run)
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*")} == before


def test_the_worth_of_a_link_is_what_its_reader_loses(run: Path) -> None:
    found = {effect.link: effect for effect in ablate_links(run)}
    assert list(found) == ["depth:act1->seg:act1", "depth:act2->seg:act2"]
    trained = restore_run(run)
    closed = trained.net.fusions["seg", "act2"]
    nets = {"net": trained.net}
    options = {"batch_size": 32, "precision": trained.precision}
    whole = score(nets, trained.tasks, trained.data, "validation", **options)["net"]["seg"].metrics["miou"]
    closed.closed = frozenset({"depth:act2->seg:act2"})
    without = score(nets, trained.tasks, trained.data, "validation", **options)["net"]["seg"].metrics["miou"]
    effect = found["depth:act2->seg:act2"]
    assert (effect.task, effect.metric, effect.direction) == ("seg", "miou", "max")
    assert (effect.value, effect.without, effect.worth) == (whole, without, whole - without)


def test_a_link_is_open_again_afterwards(run: Path) -> None:
    net = restore_run(run).net.eval()
    image = torch.rand(2, 3, 12, 16)
    link = next(link for link in net.links if link.direction == "p2a")
    before = net(image)["seg"]
    assert not torch.equal(Without(net, link).eval()(image=image)["seg"], before)
    assert torch.equal(net(image)["seg"], before)
    with pytest.raises(TypeError):
        Without(net, link)(image=None)
    assert torch.equal(net(image)["seg"], before)


def test_signals_are_means_of_what_was_logged(run: Path) -> None:
    found = read_signals(run)
    [signal] = found.tasks
    rows = [row for _, rows in read_gradients(run)["search"] for row in rows if row.tap is None]
    cosines = [row.cosine for row in rows if row.cosine is not None]
    assert len(cosines) == 3
    assert (signal.task, signal.cosine) == ("seg", pytest.approx(sum(cosines) / 3))
    assert (signal.early, signal.late) == (cosines[0], cosines[-1])
    assert signal.conflicts == pytest.approx(sum(cosine < 0 for cosine in cosines) / 3)
    last = read_gates(run)["search"][-1][1]
    assert signal.gate == pytest.approx((last["depth:act1->seg:act1"][0] + last["depth:act2->seg:act2"][0]) / 2)
    assert signal.worth == pytest.approx(sum(effect.worth for effect in found.effects))
    assert found.remarks == ()


def test_what_was_found_once_is_not_measured_again(run: Path, tmp_path: Path) -> None:
    found = kept_signals(run, tmp_path / "signals" / "seed-0.json")
    assert (
        kept_signals(tmp_path / "gone", tmp_path / "signals" / "seed-0.json") == found == load_signals(tmp_path / "signals" / "seed-0.json")
    )


def test_links_that_replace_have_no_gate_but_gradients_meet_there(tmp_path: Path) -> None:
    changes = {"space": "aux-head", "training.epochs": 1, "baseline": "none", "runtime.log_gradients": {"epochs": 1}}
    gn.search(write_search(tmp_path, changes), out=tmp_path / "run")
    found = read_signals(tmp_path / "run")
    assert found.effects == ()
    assert found.remarks == ("no link has a gate through which an auxiliary reads the primary",)
    assert [(signal.cosine is None, signal.gate, signal.worth) for signal in found.tasks] == [(False, None, None)]


def test_what_can_not_be_told_is_said(copy: Path) -> None:
    (copy / "gradients.jsonl").unlink()
    spec = json.loads((copy / "spec.json").read_text())
    source = spec["task_pair"]["sources"]["toy"]
    source["validation"] = {"path": source["test"]}  # other samples, as good as any
    (copy / "spec.json").write_text(json.dumps(spec))
    found = read_signals(copy)
    assert found.remarks == ("no cosines of gradients were logged: runtime.log_gradients: {epochs: 1}",)
    assert [(signal.cosine, signal.conflicts) for signal in found.tasks] == [(None, None)]


def refused(run: Path) -> str:
    with pytest.raises(gn.GraphNASError) as caught:
        read_signals(run)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_a_run_without_what_is_needed_is_refused(copy: Path, tmp_path: Path) -> None:
    assert refused(tmp_path) == f"{tmp_path}: no run is there: spec.json is missing\n  fix: name the folder of a run"
    spec = json.loads((copy / "spec.json").read_text())
    shutil.rmtree(copy / "phases")
    assert refused(copy) == (f"{copy}: the training of this run is not over\n  fix: graphnas search {copy}/spec.json --out {copy} --resume")
    del spec["task_pair"]["tasks"]["seg"]
    (copy / "spec.json").write_text(
        json.dumps({**spec, "networks": {"*": spec["networks"]["*"]}, "space": {"kind": "search_space", "links": []}})
    )
    assert refused(copy) == f"{copy}: this run has no auxiliary: there is nothing to attribute\n  fix: name a run that has one"
