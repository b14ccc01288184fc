"""Gates of every link and cosines of gradients, beside a training that they don't change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphnas as gn
from graphnas.data import Batch
from graphnas.search.gradient_probe import Agreement, GradientProbe, shared_taps
from graphnas.search.precision import Precision
from graphnas.search.recorder import Recorder, Watched, link_gates, read_gates, read_gradients
from graphnas.search.trace import Trace, read_trace

SPACE = {
    "kind": "search_space",
    "links": [
        {
            "direction": "primary -> auxiliary",
            "operations": [{"op": "conv1x1", "initial": 1}, "none"],
            "gate": "gumbel",
            "converges_to": "free",
        }
    ],
}


class Small(nn.Module):
    """A tap and a head of one weight a channel."""

    def __init__(self, *head: float) -> None:
        super().__init__()
        self.tap = nn.Conv2d(3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Conv2d(2, 1, 1, bias=False)
        self.head.weight.data.copy_(torch.tensor(head).reshape(1, 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        tap = self.tap(x)
        self.norm(tap)  # only to watch its running statistics
        return self.head(tap)


class Mean:
    """A loss whose gradient is the same everywhere."""

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.mean()


def woven(*auxiliaries: Small, gate: str = "fixed") -> gn.Supernet:
    link = {**SPACE["links"][0], "operations": [{"op": "conv1x1", "initial": 1}], "gate": {"function": gate, "initial": 1}}
    space = gn.parse_spec(SPACE if gate == "gumbel" else {**SPACE, "links": [link]}, kind="search_space")
    modules = {"p": Small(1.0, 2.0)} | {f"a{index}": module for index, module in enumerate(auxiliaries)}
    example = torch.zeros(2, 3, 4, 4)
    branches = {task: gn.Branch.from_module(module, taps={"s": "tap"}, example=example) for task, module in modules.items()}
    return gn.weave(branches, primary="p", space=space)


def measured(net: gn.Supernet, rows: dict[str, list[int]]) -> list[Agreement]:
    generator = torch.Generator().manual_seed(3)
    batch = Batch(
        {"x": torch.randn(4, 3, 4, 4, generator=generator)},
        {task: torch.zeros(len(found), 1, 4, 4) for task, found in rows.items()},
        {task: torch.tensor(found, dtype=torch.long) for task, found in rows.items()},
        tuple("abcd"),
    )
    tasks: Any = dict.fromkeys(net.tasks, Mean())
    return GradientProbe(net, tasks, Precision(torch.device("cpu")))(batch)


def test_cosines_are_those_of_the_heads() -> None:
    """dL/dx is the head's weights, the same everywhere: along, across and against those of the primary."""
    net = woven(Small(2.0, 4.0), Small(-2.0, 1.0), Small(-1.0, -2.0))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    found = measured(net, {"p": [0, 1], "a0": [1], "a1": [0, 1], "a2": [2, 3]})
    assert [(row.task, row.tap, row.samples) for row in found] == [
        ("a0", "tap", 1), ("a0", None, 1), ("a1", "tap", 2), ("a1", None, 2), ("a2", None, 2),
    ]  # fmt: skip
    assert [row.cosine for row in found if row.tap] == pytest.approx([1, 0], abs=1e-6)
    assert [row.ratio for row in found if row.tap] == pytest.approx([4, 1], rel=1e-6)  # over half the samples, twice the weights
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    [against] = [row for row in measured(net, {"p": [0], "a2": [0]}) if row.tap]
    assert against.cosine == pytest.approx(-1, abs=1e-6)


def test_the_cosine_of_the_weights_is_the_gradients() -> None:
    net = woven(Small(-2.0, 1.0))
    batch = {"p": [0, 1], "a0": [2, 3]}
    [found] = measured(net, batch)
    answers = net(torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(3)))
    weight = net.get_parameter("branches.p.tap.weight")
    own, other = (torch.autograd.grad(answers[task][rows].mean(), weight, retain_graph=True)[0].flatten() for task, rows in batch.items())
    assert found.cosine == pytest.approx(float(torch.cosine_similarity(own, other, dim=0)), abs=1e-6)
    assert found.ratio == pytest.approx(float(other.norm() / own.norm()), rel=1e-5)


def test_no_gradient_has_no_cosine_and_no_labels_no_row() -> None:
    net = woven(Small(0.0, 0.0))
    assert [(row.cosine, row.ratio) for row in measured(net, {"p": [0], "a0": [0]})] == [(None, 0.0), (None, 0.0)]
    assert measured(net, {"a0": [0]}) == []
    assert measured(net, {"p": [0]}) == []
    assert list(shared_taps(net)) == ["tap"]


def test_gates_draw_no_random_numbers() -> None:
    net = woven(Small(1.0, 1.0), gate="gumbel").train()
    before = torch.get_rng_state()
    first, second = link_gates(net)(), link_gates(net)()
    assert (first, list(first)) == (second, ["p:tap->a0:tap"])
    assert torch.equal(before, torch.get_rng_state())
    assert all(fusion.training for fusion in net.fusions.values())


def test_a_recorder_forgets_what_comes_again_and_says_links_that_change(tmp_path: Path) -> None:
    links = {"one": [0.5], "two": [0.25, 0.1234567891]}
    watched = Watched(lambda: links, {}, lambda batch: [Agreement("a", None, -0.5, 2.0, 3)])
    recorder = Recorder(tmp_path, "search", watched)
    recorder.gates(1, 5)
    recorder.gradients(Batch({}, {}, {}, ()), 1, 5)
    recorder.gates(2, 10)
    recorder.gradients(Batch({}, {}, {}, ()), 2, 10)
    Recorder(tmp_path, "finetune", watched).gates(1, 7)
    with (tmp_path / "gates.jsonl").open("a") as stream:
        stream.write('{"phase": "search", "st')
    recorder.go_back(5)
    del links["one"]
    recorder.gates(2, 9)
    assert read_gates(tmp_path) == {
        "search": [(5, {"one": [0.5], "two": [0.25, 0.123457]}), (9, {"two": [0.25, 0.123457]})],
        "finetune": [(7, {"one": [0.5], "two": [0.25, 0.123457]})],
    }
    assert read_gradients(tmp_path) == {"search": [(5, [Agreement("a", None, -0.5, 2.0, 3)])]}


def test_nothing_watched_is_no_file(tmp_path: Path) -> None:
    for watched in (None, Watched(dict)):
        recorder = Recorder(tmp_path, "search", watched)
        recorder.go_back(0)
        recorder.gates(1, 1)
        recorder.gradients(Batch({}, {}, {}, ()), 1, 1)
    assert list(tmp_path.iterdir()) == []
    assert read_gates(tmp_path) == read_gradients(tmp_path) == {}


def test_a_trace_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "gone" / "gates.jsonl"
    with pytest.raises(gn.RunError) as caught:
        Trace(file).write({"phase": "search", "step": 1})
    assert str(caught.value) == f"{file}: can't be written: No such file or directory\n  fix: make room there, then --resume"


def test_a_trace_holds_no_numbers_that_json_lacks(tmp_path: Path) -> None:
    Trace(tmp_path / "t").write({"phase": "search", "step": 1, "cosine": float("nan")})
    assert json.loads((tmp_path / "t").read_text()) == {"phase": "search", "step": 1, "cosine": None}
    assert len(read_trace(tmp_path / "t")) == 1
