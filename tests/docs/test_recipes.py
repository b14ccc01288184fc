"""What the recipes of docs/architecture.md register does what the page says, in specs and in a supernet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import graphnas as gn
from graphnas import registry

DOCUMENT = Path(__file__).parents[2] / "docs" / "architecture.md"
REGISTRIES = [entries for entries in vars(registry).values() if isinstance(entries, registry.Registry)]

NETWORK = """\
kind: network
parameters: {out_channels: {type: integer}}
inputs: {image: "image[3, H, W]"}
nodes:
  stem: {op: conv2d, out_channels: 4}
  mixed: {op: channel_shuffle, groups: %d}
  head: {op: conv2d, out_channels: $out_channels}
outputs: {prediction: head}
taps: {s1: mixed}
"""
SEARCH = """\
kind: search
task_pair:
  primary: height
  sources: {rooms: {layout: arrays, train: train, validation: {fraction: 0.25}}}
  inputs: {image: {key: image}}
  tasks:
    height: {type: height, key: height}
    classes: {type: semantic_segmentation, key: classes, classes: 3}
networks: {"*": {use: network.yaml}}
space:
  links:
    - direction: auxiliary -> primary
      operations: [flipped]
      gate: {function: tanh01, initial: 0.3}
      penalty: {type: l2, strength: 10}
      converges_to: zero
    - {direction: primary -> auxiliary, operations: [flipped], converges_to: free}
balance: geometric_mean
training:
  steps: 2
  batch_size: 2
  updates: joint
  optimizers: {weights: {type: sgd, lr: 1e-3}, alphas: {type: sgd, lr: 1e-3}}
runtime: {device: cpu}
baseline: none
"""


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the page's code makes."""
    for entries in REGISTRIES:
        monkeypatch.setattr(entries, "_loaded", dict(entries._loaded))
    blocks = DOCUMENT.read_text().split("```python\n")[1:]
    code = "".join(block.partition("```")[0] for block in blocks)
    made: dict[str, Any] = {"__name__": "recipes"}
    exec(compile(code, str(DOCUMENT), "exec", dont_inherit=True), made)
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    (tmp_path / "train").mkdir()
    for index in range(8):
        np.savez(
            tmp_path / "train" / f"{index}.npz",
            image=random.integers(0, 256, (8, 8, 3), dtype=np.uint8),
            height=random.integers(0, 300, (8, 8), dtype=np.int64),
            classes=random.integers(0, 3, (8, 8), dtype=np.uint8),
        )
    (tmp_path / "network.yaml").write_text(NETWORK % 2)
    (tmp_path / "search.yaml").write_text(SEARCH)
    return tmp_path


def test_a_search_uses_all_of_them(recipes: dict[str, Any], folder: Path) -> None:
    net = gn.compile(gn.load_spec("search.yaml"))
    assert {name for operations in net.link_operations.values() for name in operations} == {"flipped"}
    [gate] = [gate for link, gate in net.gates().items() if link.startswith("classes")]
    assert gate.item() == pytest.approx(0.3)
    assert gn.penalty(net, progress=1).item() == pytest.approx(10 * 0.3**2)
    result = gn.search(gn.load_spec("search.yaml"), out="run")
    assert result.metric == "abs"
    assert result.certificate.holds


def test_the_type_rule_points_at_the_line(recipes: dict[str, Any], folder: Path) -> None:
    (folder / "network.yaml").write_text(NETWORK % 3)
    with pytest.raises(gn.SpecError) as raised:
        gn.compile(gn.load_spec("search.yaml"))
    assert str(raised.value) == "network.yaml:6:40: nodes.mixed.groups: 4 channels do not split into 3 groups\n  fix: groups: 1"


def test_the_task_type_ignores_what_is_not_labeled(recipes: dict[str, Any]) -> None:
    task = recipes["Height"](key="height")
    target = task.decode(np.array([[0, 150]]), file="x")[None]
    prediction = torch.tensor([[[[9.0, 1.0]]]], requires_grad=True)
    assert task.loss_value(prediction, target).item() == pytest.approx(0.5)
    loss = task.loss_value(prediction, torch.zeros_like(target))
    loss.backward()
    assert loss.item() == 0
    assert prediction.grad is not None
    assert not prediction.grad.any()
    with pytest.raises(gn.DataError, match=r"^x: a height of -1 cm\n  fix: 0 where there is no label$"):
        task.decode(np.array([[-1]]), file="x")
