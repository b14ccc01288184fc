"""What is chosen on a GPU: autocast, channels_last, pinned memory, copies beside computation, fused optimizers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import graphnas as gn
from graphnas.search.progress import Progress

Make = Callable[..., gn.SearchSpec]
MODEL = Path("artifact", "model.safetensors")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: what is chosen on one can't be tried")
CHOICES: list[dict[str, Any]] = [
    {},
    {"runtime.precision": "bfloat16", "runtime.memory_format": "channels_last"},
    {"runtime.precision": "float16", "training.updates": "alternate"},
    {"runtime.memory": "low", "training.updates": "alternate"},
    {"training.accumulate": 2},
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(map(str, choice.values())) or "default")
def test_a_search_on_a_gpu(choice: dict[str, Any], tmp_path: Path, make_spec: Make, data: Any) -> None:
    spec = make_spec({"runtime.device": "cuda", "baseline": "none", "runtime.workers": 1, **choice})
    result = gn.search(spec, data=data, out=tmp_path / "run")
    assert result.certificate.holds
    assert json.loads((tmp_path / "run" / "results.json").read_text())["device"].startswith("cuda")


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
