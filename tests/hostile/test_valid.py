"""Random searches that are right: random networks, spaces and tasks compile, and prune to the single-task network."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import graphnas as gn
from graphnas.compiler import build
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.graph.types import Image
from tests.strategies import TASKS, link_rules, networks, tasks

SIZE = {"image": Image(3, 6, 5)}


@st.composite
def fitting(draw: st.DrawFn) -> dict[str, Any]:
    """A search of two or three tasks whose networks share a stage, with at most one rule a direction."""
    names = draw(st.lists(st.sampled_from(TASKS), min_size=2, max_size=3, unique=True))
    used: dict[str, Any] = {}
    for name in names:
        network = draw(networks(taps=False))
        inner = [node for node, written in network["nodes"].items() if node != "head" and "repeat" not in written]
        network["taps"] = {"s": draw(st.lists(st.sampled_from(inner), min_size=1, unique=True))}
        used[name] = {"use": network}
    rules = [draw(link_rules(into_primary=True, replace=False)), draw(link_rules(into_primary=False, replace=False))]
    rules[1]["direction"] = "primary -> auxiliary"
    for rule in rules:
        rule.pop("where", None)
    return {
        "kind": "search",
        "task_pair": {
            "kind": "task_pair",
            "primary": names[0],
            "sources": {"x": {"layout": "python"}},
            "inputs": {"image": "image"},
            "tasks": {name: draw(tasks) for name in names},
        },
        "networks": used,
        "space": {"kind": "search_space", "links": rules[: draw(st.integers(0, 2))]},
        "training": {"steps": 1, "batch_size": 1, "optimizers": {name: {"type": "sgd", "lr": 0.1} for name in ("weights", "alphas")}},
    }


@given(fitting())
@settings(max_examples=15)
def test_what_is_right_compiles_and_prunes_to_the_single_task_network(data: dict[str, Any]) -> None:
    spec = gn.parse_spec(data)
    assert isinstance(spec, gn.SearchSpec)
    net = build(spec, SIZE).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    pruned = gn.prune(net, force=True)
    assert pruned.certificate.holds
    assert pruned.spec is not None
    fresh = lower(pruned.spec, infer(pruned.spec, SIZE)).eval()
    fresh.load_state_dict(pruned.module.state_dict(), strict=True)
    image = torch.rand(2, 3, 6, 5)
    assert torch.equal(fresh(image), pruned.module(image))
    assert gn.parse_spec(gn.dump_spec(spec)) == spec
