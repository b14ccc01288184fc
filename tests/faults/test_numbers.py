"""Numbers that are no numbers, in a loss, a gradient, the data or a link: what the user reads, and what ``on_nan`` makes of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import graphnas as gn
from graphnas.errors import DataError, RunError
from graphnas.search import checkpoint, loop
from graphnas.search.progress import Progress
from graphnas.tasks.depth import Depth
from tests.faults.conftest import MODEL, SpecMaker, injected

Break = Callable[..., None]


@pytest.fixture
def break_loss(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Let the loss of these updates of the search be NaN, or their gradient what is given; counted from 0, each time that they come."""

    def breaking(*steps: int, gradient: float | None = None, times: int = 1_000) -> None:
        original, left = loop._step, dict.fromkeys(steps, times)

        def step(learner: Any, batches: Any, progress: float) -> dict[str, float]:
            number = round(progress * 8)
            if left.get(number, 0) == 0:
                return original(learner, batches, progress)
            left[number] -= 1
            if gradient is not None:
                value = gradient
                handle = next(learner.network.parameters()).register_hook(lambda grad: torch.full_like(grad, value))
                try:
                    return original(learner, batches, progress)
                finally:
                    handle.remove()
            for buffer in learner.network.buffers():
                if buffer.is_floating_point():
                    buffer.fill_(math.nan)
            raise loop.NotFinite("the loss of 'depth'", math.nan, ("toy/00003",))

        monkeypatch.setattr(loop, "_step", step)

    return breaking


def lines_of(spec: gn.SearchSpec, **options: Any) -> list[str]:
    lines: list[str] = []

    def watch(progress: Progress) -> None:
        if progress.line is not None:
            lines.append(progress.line)

    gn.search(spec, progress=watch, **options)
    return lines


def test_stop(tmp_path: Path, make_spec: SpecMaker, data: Any, break_loss: Break) -> None:
    break_loss(5)
    with injected("NaN in a loss: stop"):
        with pytest.raises(RunError) as caught:
            gn.search(make_spec(), data=data, out=tmp_path)
        assert str(caught.value) == (
            f"search, step 6: the loss of 'depth' is nan on toy/00003; last good checkpoint: {tmp_path}/checkpoint.safetensors, step 4\n"
            "  fix: lower training.optimizers.weights.lr or set training.clip_gradient, or training.on_nan: skip"
        )
        found = checkpoint.load(tmp_path / "checkpoint")
        assert found is not None
        assert found.values["state"]["step"] == 4


@pytest.mark.parametrize(("value", "said"), [(math.nan, "nan"), (math.inf, "inf")])
def test_a_gradient(value: float, said: str, tmp_path: Path, make_spec: SpecMaker, data: Any, break_loss: Break) -> None:
    break_loss(5, gradient=value)
    with injected("NaN or infinity in a gradient: stop"):
        with pytest.raises(RunError) as caught:
            gn.search(make_spec(), data=data, out=tmp_path)
        message = str(caught.value)
        assert message.startswith(f"search, step 6: the gradient is {said} on toy/")
        assert message.count("toy/") == 4  # the whole batch
        assert f"; last good checkpoint: {tmp_path}/checkpoint.safetensors, step 4\n" in message


def test_skip(tmp_path: Path, make_spec: SpecMaker, data: Any, break_loss: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    """The update changes nothing, running statistics included; a run that was stopped afterwards ends the same."""
    break_loss(2, 5)
    spec = make_spec({"training.on_nan": "skip"})
    with injected("NaN in a loss: skip"):
        lines = lines_of(spec, data=data, out=tmp_path / "straight")
        said = "the loss of 'depth' is nan on toy/00003; this update is left out"
        assert [line for line in lines if "left out" in line] == [f"search, step 3: {said}", f"search, step 6: {said}"]
        state = gn.load(tmp_path / "straight" / "artifact").state_dict()
        assert all(bool(torch.isfinite(value).all()) for value in state.values())

    def off(progress: Progress) -> None:
        if (progress.step, progress.line) == (7, None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gn.search(spec, data=data, out=tmp_path / "run", progress=off)
    gn.search(spec, data=data, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / MODEL).read_bytes() == (tmp_path / "straight" / MODEL).read_bytes()


def test_an_update_that_was_skipped_leaves_no_trace(
    tmp_path: Path, make_spec: SpecMaker, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, buffers, optimizers are the same before and after it."""
    original, seen = loop._step, dict[int, dict[str, Tensor]]()

    def step(learner: Any, batches: Any, progress: float) -> dict[str, float]:
        number = round(progress * 8)
        seen[number] = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
        if number != 5:
            return original(learner, batches, progress)
        for buffer in learner.network.buffers():
            buffer.zero_()
        raise loop.NotFinite("the loss of 'depth'", math.inf)

    monkeypatch.setattr(loop, "_step", step)
    gn.search(make_spec({"training.on_nan": "skip"}), data=data, out=tmp_path)
    assert all(torch.equal(seen[6][name], value) for name, value in seen[5].items())
    assert not all(torch.equal(seen[5][name], value) for name, value in seen[4].items())


@pytest.mark.parametrize("every", [{"epochs": 1}, {"steps": 3}])
def test_rewind(every: dict[str, int], tmp_path: Path, make_spec: SpecMaker, data: Any, break_loss: Break) -> None:
    """Back to the last checkpoint, and the update is left out when it comes again; the log has every row once."""
    break_loss(1, 5)
    spec = make_spec({"training.on_nan": "rewind", "runtime.checkpoint_every": every})
    with injected("NaN in a loss: rewind"):
        lines = lines_of(spec, data=data, out=tmp_path)
        last = 4 if "epochs" in every else 3
        said = "the loss of 'depth' is nan on toy/00003; back to step"
        assert [line for line in lines if "left out" in line] == [
            f"search, step 2: {said} 0; this update is left out",
            f"search, step 6: {said} {last}; this update is left out",
        ]
        rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        steps = [row["step"] for row in rows if row["split"] == "validation" and row["task"] == "depth"]
        assert steps == [4, 8]
        assert gn.load(tmp_path / "artifact") is not None


@pytest.mark.parametrize("policy", ["skip", "rewind"])
def test_there_is_an_end_to_it(policy: str, tmp_path: Path, make_spec: SpecMaker, data: Any, break_loss: Break) -> None:
    break_loss(2, 3, 4, 5, 6, 7)
    with injected(f"NaN in every loss: {policy}"):
        with pytest.raises(RunError) as caught:
            gn.search(make_spec({"training.on_nan": policy}), data=data, out=tmp_path)
        fix = "lower training.optimizers.weights.lr or set training.clip_gradient"
        assert str(caught.value) == (
            "search, step 6: the loss of 'depth' is nan on toy/00003; 3 updates were left out before; "
            f"last good checkpoint: {tmp_path}/checkpoint.safetensors, step 4\n"
            f"  fix: {fix}{'' if policy == 'skip' else ', or training.on_nan: skip'}"
        )


def test_data(tmp_path: Path, make_spec: SpecMaker, data: Any) -> None:
    """The sample is named, not only the batch that it was in."""
    sample = data["toy"]["train"][3]
    image = sample["image"].astype(np.float32) / 255
    image[0, 0, 0] = math.nan
    data["toy"]["train"][3] = {**sample, "image": image}
    with injected("NaN in the data"):
        with pytest.raises(DataError) as caught:
            gn.search(make_spec({"task_pair.tasks.depth.labeled": None}), data=data, out=tmp_path)
        assert str(caught.value) == (
            "inputs.image.key: toy[3]['image']: an image of floating-point numbers up to nan\n"
            "  fix: bytes, or floating-point numbers where 1 is white"
        )


def test_a_label_that_no_decoder_noticed(tmp_path: Path, make_spec: SpecMaker, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = Depth.decode

    def careless(task: Depth, raw: Any, *, file: str) -> Tensor:
        metres = decode(task, raw, file=file)
        return torch.full_like(metres, math.inf) if file.startswith("toy[3]") else metres

    monkeypatch.setattr(Depth, "decode", careless)
    with injected("NaN in the data"):
        with pytest.raises(RunError) as caught:
            gn.search(make_spec({"task_pair.tasks.depth.labeled": None}), data=data, out=tmp_path)
        assert "the loss of 'depth' is inf on toy/" in str(caught.value)
        assert "; not finite: label 'depth' of toy/03; last good checkpoint: " in str(caught.value)
        assert str(caught.value).endswith("\n  fix: mend these samples, or training.on_nan: skip")


def test_a_link_that_explodes(tmp_path: Path, make_spec: SpecMaker, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = loop._step

    def step(learner: Any, batches: Any, progress: float) -> dict[str, float]:
        if round(progress * 8) == 5:
            with torch.no_grad():
                link = learner.network.link_operations["depth:act1->seg:act1"]["conv1x1"]
                link.weight.fill_(math.inf)
        return original(learner, batches, progress)

    monkeypatch.setattr(loop, "_step", step)
    with injected("a link that explodes"):
        with pytest.raises(RunError) as caught:
            gn.search(make_spec(), data=data, out=tmp_path)
        message = str(caught.value)
        assert message.startswith("search, step 6: the loss of ")
        assert " is nan on toy/" in message
        assert "; joints.seg.act1.links.0.conv1x1.weight is not finite; last good checkpoint: " in message
