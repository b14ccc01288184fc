"""Methods whose inference keeps more than the primary: searched, saved, loaded, evaluated, used for prediction, and gone on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import graphnas as gn
from graphnas.errors import PruneError
from graphnas.runs import prune_run
from graphnas.runs.phases import gate_means
from tests.builders import chain, space
from tests.runs.conftest import Stop, stop_at

Make = Callable[..., gn.SearchSpec]
Rows = Callable[[Path], list[dict[str, Any]]]
MODEL = Path("artifact", "model.safetensors")
SHORT = {"baseline": "none", "training.epochs": 2, "training.select": "last"}
LOOSE: dict[str, Any] = {"tolerance": 1}  # two epochs converge to nothing
FUSED = {
    "kind": "search_space",
    "links": [{"direction": "auxiliary -> primary", "operations": ["conv1x1"], "converges_to": "zero", "tolerance": 9}],
    "fusion": {"self": {"op": "conv1x1", "initial": 0.9}, "norm": "batch_norm", "activation": "relu"},
    "constraints": {"inference": "primary+fusion"},
}


def space_of(name: str) -> dict[str, Any]:
    space = gn.load_spec(name).model_dump(mode="json", by_alias=True)
    return {**space, "links": [{**rule, **(LOOSE if rule["converges_to"] == "binary" else {})} for rule in space["links"]]}


SPACES = {name: space_of(name) for name in ("nddr", "cross-stitch", "mtl-nas")} | {"primary+fusion": FUSED}


@pytest.mark.parametrize("name", SPACES)
def test_from_the_search_to_a_prediction(name: str, tmp_path: Path, make_spec: Make, data: Any) -> None:
    optimizers = {"weights": {"type": "adam", "lr": 1e-2}, "alphas": {"type": "adam", "lr": 1e-2}}
    spec = make_spec({**SHORT, "space": SPACES[name], "training.updates": "alternate", "training.optimizers": optimizers})
    run = tmp_path / "run"
    result = gn.search(spec, data=data, out=run)
    certificate = result.certificate
    assert (certificate.keeps, certificate.holds) == ("primary+fusion" if name == "primary+fusion" else "all", False)
    pruned = result.rows[-1]
    assert (pruned["macs"], pruned["parameters"]) == (certificate.macs, certificate.parameters)
    written = json.loads((run / "artifact" / "certificate.json").read_text())
    assert written["macs_ratio"] == certificate.macs / certificate.macs_single_task > 1
    found = gn.evaluate(run, data=data)
    assert found.metrics == pruned["metrics"]
    shutil.copytree(run / "artifact", tmp_path / "copy")  # it says itself how it is built
    assert gn.evaluate(tmp_path / "copy", task_pair=spec.task_pair, data=data) == found
    x = torch.rand(1, 3, 12, 16)
    assert torch.equal(gn.load(tmp_path / "copy")(x), result.pruned.module.eval()(x))
    pixels = data["toy"]["test"][0]["image"]
    Image.fromarray(pixels).save(tmp_path / "image.png")
    [prediction] = gn.predict(tmp_path / "copy", [tmp_path / "image.png"])
    assert prediction.values.shape[-2:] == (12, 16)
    assert np.isfinite(prediction.values).all()


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["nddr", "cross-stitch"])
def test_on_the_data_of_the_quickstart(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    settings = [f"space={name}", "training.steps=null", "training.epochs=1", "runtime.device=cpu", "baseline=none"]
    spec = gn.load_spec("examples/quickstart/search.yaml", overrides=settings)
    assert isinstance(spec, gn.SearchSpec)
    result = gn.search(spec, out=tmp_path / "run")
    assert result.certificate.keeps == "all"
    assert result.cut_gap == 0.0
    assert gn.evaluate(tmp_path / "run").metrics == result.rows[-1]["metrics"]
    again = gn.search(spec, out=tmp_path / "run", resume=True)
    assert again.rows == result.rows


@pytest.mark.parametrize(("name", "step"), [("nddr", 5), ("mtl-nas", 3)])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    name: str, step: int, tmp_path: Path, make_spec: Make, data: Any, metrics: Rows
) -> None:
    """The temperature of Gumbel gates and their noise go on where they were."""
    spec = make_spec({**SHORT, "space": SPACES[name], "training.optimizers.alphas": {"type": "adam", "lr": 1e-2}})
    gn.search(spec, data=data, out=tmp_path / "straight")

    with pytest.raises(Stop):
        gn.search(spec, data=data, out=tmp_path / "run", progress=stop_at("search", step))
    gn.search(spec, data=data, out=tmp_path / "run", resume=True)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "straight")
    first, second = (load_file(tmp_path / run / MODEL) for run in ("run", "straight"))
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_what_is_selected_has_rounded_gates(tmp_path: Path, make_spec: Make, data: Any, metrics: Rows) -> None:
    space = space_of("mtl-nas")
    space["links"] = [{**rule, "gate": "sigmoid", "operations": ["conv1x1"]} for rule in space["links"]]
    result = gn.search(make_spec({**SHORT, "space": space}), data=data, out=tmp_path / "run")
    rows = [row for row in metrics(tmp_path / "run") if row["split"] == "validation" and row["task"] == "depth"]
    assert len(rows) == 2
    assert all(row["cut_gap"] == pytest.approx(row["metrics"]["rel"] - row["cut_metrics"]["rel"]) for row in rows)
    assert any(row["cut_gap"] != 0 for row in rows)
    assert result.rows[-1]["metrics"] == gn.evaluate(tmp_path / "run", data=data).metrics


def test_the_mean_gate_of_the_log_leaves_out_none() -> None:
    rule = {"direction": "any -> any", "operations": ["conv1x1", "none"], "gate": "gumbel", "converges_to": "binary"}
    net = gn.weave({"p": chain(), "q": chain()}, primary="p", space=space(rule, constraints={"inference": "all"}))
    with torch.no_grad():
        for link, alpha in net.alphas.items():
            alpha[0] = 1.0 if link.startswith("q") else 0.0
    assert gate_means(net)() == {"a2p": pytest.approx(torch.tensor(1.0).sigmoid().item()), "p2a": 0.5}


def test_gates_that_have_not_converged_to_0_or_1(tmp_path: Path, make_spec: Make, data: Any) -> None:
    spec = make_spec({**SHORT, "space": "mtl-nas", "training.optimizers.alphas": {"type": "sgd", "lr": 1e-9}})
    with pytest.raises(PruneError) as caught:
        gn.search(spec, data=data, out=tmp_path / "run")
    [problem] = caught.value.problems
    assert (problem.path, problem.message, problem.fix) == (
        "links[0].converges_to",
        "3 of 3 links have not converged to 0 or 1: seg:act1->depth:act1 has a gate 0.5 from either, 0.1 is allowed",
        "train longer or with a stronger penalty; or round them all the same: --force (from Python: force=True)",
    )
    assert problem.where is not None
    assert problem.where.line == 11
    assert prune_run(tmp_path / "run", force=True, data=data).certificate.forced
