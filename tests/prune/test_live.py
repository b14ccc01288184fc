"""Links cut while a supernet goes on: what it computes, what is said of its links, and what is kept."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import graphnas as gn
from graphnas.prune import cut_view, links_at_zero, links_to_cut, run_without
from tests.builders import INTO, OUT, RandomDag, chain, image, randomize, space

X = image(2, 3, 6, 6)
PROJECTED = {"gate": {"function": "projected01", "initial": 0.5}}


def close(net: gn.Supernet, ids: list[str]) -> None:
    """Alphas of these links at exactly zero."""
    with torch.no_grad():
        for link in ids:
            net.alphas[link].zero_()


def test_no_gradient_changes_but_those_of_the_alphas_that_are_cut() -> None:
    branches = {"p": chain(), "q": chain(), "r": chain()}
    net = randomize(gn.weave(branches, primary="p", space=space({**INTO, **PROJECTED, "where": {"max_gap": 1}}, OUT))).double()
    dead = [link.id for link in links_to_cut(net)][::2]
    close(net, dead)
    part = copy.deepcopy(net)
    run_without(part, dead)
    expected, found = gradients(net), gradients(part)
    gone = {name for name, parameter in net.named_parameters() for link in dead if parameter is net.alphas[link]}
    assert set(expected) == set(found) | gone
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-14, atol=1e-14)


def gradients(net: gn.Supernet) -> dict[str, Tensor]:
    """Of every parameter that gets one that is not zero, in float64."""
    net.zero_grad()
    torch.manual_seed(0)
    sum((value.square().sum() for value in net(X.double()).values()), start=torch.zeros(())).backward()
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None and bool(p.grad.count_nonzero())}


def make(seed: int, combine: str = "add") -> gn.Supernet:
    """Three random networks with links in all directions, none at zero."""
    torch.manual_seed(seed)
    choose = random.Random(seed)
    branches = {
        task: gn.Branch.from_module(RandomDag(choose.randrange(10**6), 6), taps={"s": ["blocks.*"]}, example=X) for task in ("p", "q", "r")
    }
    rules = [{**INTO, **PROJECTED, "where": {"max_gap": 1}}, {**OUT, "combine": combine, "where": {"max_gap": 1}}]
    return randomize(gn.weave(branches, primary="p", space=space(*rules))).double()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["add", "mix"]))
def test_nothing_changes_but_the_work(seed: int, combine: str) -> None:
    net = make(seed, combine)
    into = [link.id for link in links_to_cut(net)]
    dead = random.Random(seed).sample(into, random.Random(seed).randrange(1, len(into) + 1))
    close(net, dead)
    assert links_at_zero(net).issuperset(dead)
    for training in (False, True):
        whole, part = copy.deepcopy(net.train(training)), copy.deepcopy(net.train(training))
        run_without(part, dead)
        assert (part.cut, part.links) == (frozenset(dead), whole.links)
        assert list(part.state_dict()) == list(whole.state_dict())
        torch.manual_seed(0)
        expected = whole(X.double())
        torch.manual_seed(0)
        found = part(X.double())
        assert all(torch.equal(found[task], expected[task]) for task in net.tasks)
        state, other = whole.state_dict(), part.state_dict()
        assert all(torch.equal(state[name], other[name]) for name in state)


def test_the_graph_gets_smaller_and_the_primary_waits_for_nobody() -> None:
    net = gn.weave({"p": chain(), "q": chain()}, primary="p", space=space({**INTO, **PROJECTED}, OUT))
    assert [node.name for node in net.graph.nodes if node.op == "call_module" and "joints.p" in str(node.target)]
    close(net, [link.id for link in links_to_cut(net)])
    run_without(net, links_at_zero(net))
    assert not [node.name for node in net.graph.nodes if "joints.p" in str(node.target)]
    assert not [node for node in net.view(["p"]).graph.nodes if "branches.q" in str(node.target)]


def test_views_from_before_run_as_they_did_and_share_parameters() -> None:
    net = randomize(gn.weave({"p": chain(), "q": chain()}, primary="p", space=space({**INTO, **PROJECTED}, OUT))).eval()
    close(net, [link.id for link in links_to_cut(net)])
    before, expected = net.view(["p", "q"]).eval(), net(X)
    run_without(net, links_at_zero(net))
    with torch.no_grad():
        net.get_parameter("branches.p.head.bias").add_(1)
    found = net(X)
    assert not torch.equal(found["p"], expected["p"])
    assert all(torch.equal(before(X)[task], found[task]) for task in ("p", "q"))


def test_what_was_cut_can_be_put_back() -> None:
    net = make(3)
    before = str(net.graph)
    into = [link.id for link in links_to_cut(net)]
    expected = net.eval()(X.double())
    run_without(net, into)
    assert len(net.graph.nodes) < len(net.woven.nodes)
    run_without(net, into[:1])
    assert net.cut == {into[0]}
    run_without(net, ())
    assert str(net.graph) == before
    assert all(torch.equal(value, expected[task]) for task, value in net(X.double()).items())


def test_penalties_and_means_still_go_over_all_links() -> None:
    rule = {**INTO, **PROJECTED, "penalty": {"type": "l1", "strength": 3, "of": "contribution"}}
    net = randomize(gn.weave({"p": chain(), "q": chain()}, primary="p", space=space(rule, OUT)))
    [first, second] = [link.id for link in links_to_cut(net)]
    close(net, [first])
    before, gates = net.penalty(1.0), net.gates()
    run_without(net, [first])
    after = net.penalty(1.0)
    assert torch.equal(before, after)
    after.backward()
    assert net.alphas[first].grad is None
    assert net.alphas[second].grad is not None
    assert all(torch.equal(gate, gates[link]) for link, gate in net.gates().items())
    assert float(net.contributions()[first].detach().sum()) == 0.0


def test_a_proximal_step_shares_its_strength_among_all_links_and_leaves_what_is_cut() -> None:
    rule = {**INTO, **PROJECTED, "penalty": {"type": "proximal", "strength": 1}}
    net = gn.weave({"p": chain(), "q": chain()}, primary="p", space=space(rule, OUT))
    [first, second] = [link.id for link in links_to_cut(net)]
    close(net, [first])
    run_without(net, [first])
    with torch.no_grad():
        net.alphas[first].fill_(0.125)
    net.after_alpha_step(0.5, 1.0)
    assert float(net.alphas[second].detach()) == 0.5 - 0.5 * 1 / 2
    assert float(net.alphas[first].detach()) == 0.125
    assert float(net.gates()[first].detach()) == 0.0


@pytest.mark.parametrize("inference", ["primary", "primary+fusion"])
def test_the_artifact_is_the_same(inference: str) -> None:
    more: dict[str, Any] = {"constraints": {"inference": inference}}
    if inference == "primary+fusion":
        more["fusion"] = {"norm": "batch_norm", "activation": "relu"}
    net = randomize(gn.weave({"p": chain(inplace=True), "q": chain()}, primary="p", space=space({**INTO, **PROJECTED}, OUT, **more)))
    close(net, [link.id for link in links_to_cut(net)])
    live = copy.deepcopy(net)
    run_without(live, links_at_zero(live))
    expected, found = gn.prune(net), gn.prune(live)
    assert found.certificate == expected.certificate
    assert found.certificate.supernet_difference == 0.0
    assert str(found.module.graph) == str(expected.module.graph)
    assert torch.equal(found.module.eval()(X), expected.module.eval()(X))
    assert torch.equal(cut_view(live).eval()(X)["p"], expected.module(X))
    assert list(found.module.state_dict()) == list(expected.module.state_dict())
    again = copy.deepcopy(live)
    run_without(again, ())
    assert str(again.graph) == str(net.graph)


@pytest.mark.parametrize(
    ("bias", "left"),
    [(0.0, 0), (0.5, 1)],
)
def test_the_bias_of_a_norm_on_what_arrives_keeps_a_link(bias: float, left: int) -> None:
    fusion = {"norm": "batch_norm", "on": "links"}
    net = gn.weave({"p": chain(taps={"s": "b"}), "q": chain(taps={"s": "b"}), "r": chain(taps={"s": "b"})}, primary="p",
                   space=space({**INTO, **PROJECTED}, fusion=fusion)).eval()  # fmt: skip
    [norm] = [fusion.norm for fusion in net.fusions.values()]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    with torch.no_grad():
        norm.bias.fill_(bias)
    close(net, [link.id for link in links_to_cut(net)])
    expected = net(X)
    assert len(net.links) - len(links_at_zero(net)) == left
    run_without(net, links_at_zero(net))
    assert torch.equal(net(X)["p"], expected["p"])
    run_without(net, links_at_zero(net))
    assert len(net.links) - len(net.cut) == left


def test_gates_that_are_drawn_at_random_are_never_at_zero() -> None:
    rule = {**INTO, "operations": ["conv1x1", "none"], "gate": {"function": "gumbel"}}
    net = gn.weave({"p": chain(), "q": chain()}, primary="p", space=space(rule)).eval()
    with torch.no_grad():
        for alpha in net.alphas.values():
            alpha.copy_(torch.tensor([-1000.0, 0.0]))
    assert all(float(gate[0].detach()) == 0.0 for gate in net.gates().values())
    assert links_at_zero(net) == frozenset()
