"""What is chosen on a GPU: autocast, channels_last, pinned memory, copies beside computation, fused optimizers, CUDA graphs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import graphnas as gn
from graphnas.search.progress import Progress
from tests.runs.conftest import NETWORK, changed

Make = Callable[..., gn.SearchSpec]
Rows = Callable[[Path], list[dict[str, Any]]]
MODEL = Path("artifact", "model.safetensors")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: what is chosen on one can't be tried")
CHOICES: list[dict[str, Any]] = [
    {},
    {"runtime.precision": "bfloat16", "runtime.memory_format": "channels_last"},
    {"runtime.precision": "float16", "training.updates": "alternate"},
    {"runtime.memory": "low", "training.updates": "alternate"},
    {"training.accumulate": 2},
]
COMPILED: list[dict[str, Any]] = [
    {"runtime.compile": True},
    {"runtime.compile": "reduce-overhead"},
    {"runtime.compile": "reduce-overhead", "runtime.heads": "together"},
    {"runtime.compile": "reduce-overhead", "training.updates": "alternate"},
    {"runtime.compile": "reduce-overhead", "balance": "uncertainty"},
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(map(str, choice.values())) or "default")
def test_a_search_on_a_gpu(choice: dict[str, Any], tmp_path: Path, make_spec: Make, data: Any) -> None:
    spec = make_spec({"runtime.device": "cuda", "baseline": "none", "runtime.workers": 1, **choice})
    result = gn.search(spec, data=data, out=tmp_path / "run")
    assert result.certificate.holds
    assert json.loads((tmp_path / "run" / "results.json").read_text())["device"].startswith("cuda")


@pytest.mark.slow
@pytest.mark.parametrize("choice", COMPILED, ids=lambda choice: "-".join(map(str, choice.values())))
def test_a_compiled_search_on_a_gpu(choice: dict[str, Any], tmp_path: Path, make_spec: Make, data: Any, metrics: Rows) -> None:
    """CUDA graphs among them: losses as without, up to rounding. Nothing is dropped, since what is compiled draws otherwise."""
    network = changed(NETWORK, {"nodes.drop.p": 0})
    losses: list[list[float]] = []
    for name, changes in (("compiled", choice), ("plain", {key: choice[key] for key in choice if key != "runtime.compile"})):
        always = {"runtime.device": "cuda", "baseline": "none", "training.epochs": 1, "networks": {"*": {"use": network}}}
        spec = make_spec({**always, **changes})
        assert gn.search(spec, data=data, out=tmp_path / name).certificate.holds
        losses.append([row["loss"] for row in metrics(tmp_path / name) if row["split"] == "training"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_it_goes_on_on_a_gpu(tmp_path: Path, make_spec: Make, data: Any) -> None:
    class Stop(Exception):
        pass

    def watch(progress: Progress) -> None:
        if (progress.phase, progress.step, progress.line) == ("search", 5, None):
            raise Stop

    spec = make_spec({"runtime.device": "cuda", "baseline": "none"})
    with pytest.raises(Stop):
        gn.search(spec, data=data, out=tmp_path / "run", progress=watch)
    assert gn.search(spec, data=data, out=tmp_path / "run", resume=True).certificate.holds
