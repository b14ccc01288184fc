"""Branches and links as one graph: the maths of fusion, the views of it, and what a space is refused for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler.meta import origin_of
from graphnas.errors import SpecError
from tests.builders import CHAIN_TAPS, IMAGE, INTO, OUT, Chain, chain, randomize, space

TAPS = CHAIN_TAPS
X = IMAGE
A2P, P2A = INTO, OUT
branch = chain


def woven(*rules: dict[str, Any], **more: Any) -> gn.Supernet:
    net = gn.weave({"p": branch(), "q": branch(5)}, primary="p", space=space(*rules, **more))
    return randomize(net.double()).eval()


def own(net: gn.Supernet, task: str) -> tuple[nn.Module, nn.Module, nn.Module]:
    found = net.get_submodule(f"branches.{task}")
    return tuple(found.get_submodule(name) for name in ("a", "b", "head"))  # pyright: ignore[reportReturnType]


def test_add_is_the_published_sum() -> None:
    net, x = woven(A2P, P2A), X.double()
    gates, operations = net.gates(), net.link_operations
    (pa, pb, ph), (qa, qb, qh) = own(net, "p"), own(net, "q")

    def sent(link: str, value: Tensor) -> Tensor:
        return F.conv2d(value, operations[link]["conv1x1"].weight[:, :, None, None]) * gates[link]  # pyright: ignore[reportIndexIssue]

    p1, q1 = pa(x), qa(x)
    p1_fused, q1_fused = p1 + sent("q:a->p:a", q1), q1 + sent("p:a->q:a", p1)
    p2, q2 = pb(F.relu(p1_fused)), qb(F.relu(q1_fused))
    p2_fused, q2_fused = p2 + sent("q:b->p:b", q2), q2 + sent("p:b->q:b", p2)
    out = net(x)
    torch.testing.assert_close(out["p"], ph(p2_fused), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(out["q"], qh(q2_fused), rtol=1e-12, atol=1e-12)
    values = gn.tap_values(net, x)
    torch.testing.assert_close(values["p", "b"], p2_fused, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(values["q", "a"], q1_fused, rtol=1e-12, atol=1e-12)


def test_mix_is_convex() -> None:
    net, x = woven({**P2A, "combine": "mix", "gate": {"initial": 0.9}, "where": {"at": "stage_end"}}), X.double()
    gate = net.alphas["p:a->q:a"].sigmoid()
    torch.testing.assert_close(net.gates()["p:a->q:a"], gate)
    (pa, *_), (qa, *_) = own(net, "p"), own(net, "q")
    weight = net.link_operations["p:a->q:a"]["conv1x1"].weight
    expected = (1 - gate) * qa(x) + gate * F.conv2d(pa(x), weight[:, :, None, None])  # pyright: ignore[reportIndexIssue]
    torch.testing.assert_close(gn.tap_values(net, x)["q", "a"], expected, rtol=1e-12, atol=1e-12)


def test_several_mixed_links_share_the_initial_value() -> None:
    taps = {"s": ["a", "b"]}
    rule = {**P2A, "combine": "mix", "gate": {"initial": 0.9}}
    net = gn.weave({"p": branch(taps=taps), "q": branch(taps=taps)}, primary="p", space=space(rule))
    gates = {link: gate.detach() for link, gate in net.gates().items()}
    assert float(gates["p:a->q:a"]) == pytest.approx(0.9)
    assert float(gates["p:a->q:b"]) == pytest.approx(0.45)
    assert float(gates["p:b->q:b"]) == pytest.approx(0.45)


def test_norm_and_activation_on_the_sum_and_on_the_links() -> None:
    for on in ("sum", "links"):
        fusion = {"norm": {"type": "batch_norm"}, "activation": "relu", "on": on}
        net = woven({**P2A, "where": {"at": "stage_end"}}, fusion=fusion)
        x = X.double()
        (pa, *_), (qa, *_) = own(net, "p"), own(net, "q")
        norm = net.fusions["q", "a"].norm
        weight = net.link_operations["p:a->q:a"]["conv1x1"].weight * net.gates()["p:a->q:a"]  # pyright: ignore[reportOperatorIssue]
        arrived = F.conv2d(pa(x), weight[:, :, None, None])
        assert isinstance(norm, nn.BatchNorm2d)
        expected = F.relu(norm(qa(x) + arrived)) if on == "sum" else qa(x) + F.relu(norm(arrived))
        torch.testing.assert_close(gn.tap_values(net, x)["q", "a"], expected, rtol=1e-12, atol=1e-12)


def test_zero_initialized_links_change_nothing() -> None:
    modules = {"p": Chain(), "q": Chain(5)}
    branches = {task: gn.Branch.from_module(module, taps=TAPS, example=X) for task, module in modules.items()}
    net = gn.weave(branches, primary="p", space=gn.load_spec("aux-nas"))
    for training in (True, False):
        out = net.train(training)(X)
        for task, module in modules.items():
            assert torch.equal(out[task], module.train(training)(X))


def test_a_value_changed_in_place_is_sent_as_it_was() -> None:
    branches = {"p": branch(inplace=True), "q": branch(5, inplace=True)}
    net = gn.weave(branches, primary="p", space=space(A2P)).eval()
    with torch.no_grad():
        for parameter in net.link_operations["q:a->p:a"]["conv1x1"].parameters():
            parameter.normal_()
    assert branches["q"].changed == {"a"}
    assert [origin.kind for node in net.graph.nodes if (origin := origin_of(node)) and origin.kind == "clone"] == ["clone"]
    (pa, *_), (qa, *_) = own(net, "p"), own(net, "q")
    weight = net.link_operations["q:a->p:a"]["conv1x1"].weight * net.gates()["q:a->p:a"]  # pyright: ignore[reportOperatorIssue]
    expected = pa(X) + F.conv2d(qa(X), weight[:, :, None, None])  # with what was before the ReLU
    torch.testing.assert_close(gn.tap_values(net, X)["p", "a"], expected)
    assert not [node for node in gn.prune(net, force=True).module.graph.nodes if node.target == "clone"]


def test_replace_removes_what_nothing_reads() -> None:
    net = gn.weave({"p": branch(), "q": branch()}, primary="p", space=gn.load_spec("aux-head"))
    names = {name for name, _ in net.get_submodule("branches.q").named_parameters()}
    assert names == {"head.weight", "head.bias"}
    assert {node.target for node in net.graph.nodes if "branches.q" in str(node.target)} == {"branches.q.head"}
    assert not net.alphas
    assert [link.id for link in net.links] == ["p:b->q:b"]  # what would arrive at q:a is read by nothing
    (pa, pb, _), head = own(net, "p"), net.get_submodule("branches.q.head")
    assert torch.equal(net(X)["q"], head(pb(F.relu(pa(X)))))
    assert isinstance(net.recorded["q"].module, Chain)
    assert net.recorded["q"].module.a is not None  # the user's own module is whole
    assert gn.prune(net).certificate.holds


def test_views_share_parameters_and_run_what_is_needed() -> None:
    net = woven(P2A)
    view = net.view(["p"])
    assert set(view(X.double())) == {"p"}
    assert not [node for node in view.graph.nodes if "branches.q" in str(node.target)]
    parameter = dict(view.named_parameters())["branches.p.a.weight"]
    assert parameter is net.get_submodule("branches.p.a").weight
    with pytest.raises(SpecError, match=r"^unknown task 'r'\n  fix: one of p, q$"):
        net.view(["r"])


def test_a_copy_is_whole_and_its_own() -> None:
    net = woven(A2P, P2A)
    other = copy.deepcopy(net)
    x = X.double()
    assert all(torch.equal(other(x)[task], net(x)[task]) for task in net.tasks)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert not torch.equal(other(x)["p"], net(x)["p"])
    assert other.links == net.links
    assert list(other.alphas) == list(net.alphas)


def test_who_trains_what() -> None:
    rules = [A2P, {**P2A, "gate": {"function": "sigmoid", "train_with": "weights"}}]
    net = gn.weave({"p": branch(), "q": branch()}, primary="p", space=space(*rules))
    alphas, weights = set(map(id, net.alpha_parameters())), set(map(id, net.weight_parameters()))
    for link in net.links:
        assert (id(net.alphas[link.id]) in alphas) == (link.direction == "a2p")
        assert (id(net.alphas[link.id]) in weights) == (link.direction == "p2a")
    assert not alphas & weights
    fixed = gn.weave({"p": branch(), "q": branch()}, primary="p", space=gn.load_spec("aux-g-layer"))
    assert not list(fixed.alpha_parameters())
    assert not {id(alpha) for alpha in fixed.alphas.values()} & set(map(id, fixed.weight_parameters()))


def test_penalties_of_gates_and_contributions() -> None:
    for of in ("gate", "contribution"):
        net = woven({**A2P, "penalty": {"type": "l1", "of": of, "strength": 10, "ramp": [0.5, 1.0]}}, P2A)
        values = net.gates() if of == "gate" else net.contributions()
        mean = torch.stack([values[link.id].abs().sum() for link in net.links if link.direction == "a2p"]).mean()
        torch.testing.assert_close(gn.penalty(net, 0.75), 5 * mean, check_dtype=False)
        assert float(gn.penalty(net, 0.5)) == 0
        assert net.ramp_end == 1.0


def test_a_proximal_penalty_ends_at_exactly_zero() -> None:
    gate, penalty = {"function": "projected01", "initial": 0.05}, {"type": "proximal", "strength": 1}
    net = gn.weave({"p": branch(), "q": branch()}, primary="p", space=space({**A2P, "gate": gate, "penalty": penalty}))
    for _ in range(20):
        net.after_alpha_step(0.01, 1.0)
    assert all(float(value.detach()) == 0 for value in net.gates().values())


# -- refusals


def rule_file(folder: Path, text: str) -> gn.SearchSpaceSpec:
    (folder / "space.yaml").write_text(f"kind: search_space\n{text}")
    return gn.load_spec("space.yaml")


RULE = "  - {direction: DIRECTION, operations: [conv1x1], converges_to: END}\n"
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no auxiliary": (
        "links:\n" + RULE.replace("DIRECTION", "primary -> auxiliary").replace("END", "free"),
        {"p": {}},
        "3:17: links[0].direction: primary -> auxiliary yields no link: there is no auxiliary task\n"
        "  fix: add an auxiliary, or use space: single-task",
    ),
    "no shared stage": (
        "links:\n" + RULE.replace("DIRECTION", "primary -> auxiliary").replace("END", "free"),
        {"p": {}, "q": {"taps": {"t1": "a"}}},
        "3:17: links[0].direction: primary -> auxiliary yields no link\n  fix: stages are matched by name: p has s1, s2; q has t1",
    ),
    "no taps": (
        "links:\n" + RULE.replace("DIRECTION", "primary -> auxiliary").replace("END", "free"),
        {"p": {}, "q": {"taps": {}}},
        "3:17: links[0].direction: primary -> auxiliary yields no link\n  fix: give the network of q taps",
    ),
    "unknown task": (
        "links:\n" + RULE.replace("DIRECTION", "primary -> seg").replace("END", "free"),
        {"p": {}, "segm": {}},
        "3:17: links[0].direction: unknown role or task 'seg'\n  fix: did you mean 'segm'?",
    ),
    "two combine kinds": (
        "links:\n"
        + RULE.replace("DIRECTION", "p -> q").replace("END", "free")
        + "  - {direction: r -> q, operations: [conv1x1], converges_to: free, combine: mix}\n",
        {"p": {}, "q": {}, "r": {}},
        "4:77: links[1].combine: two combine kinds on one destination, q:a: add (links[0]) and mix (links[1])\n"
        "  fix: let all rules into a tap combine alike",
    ),
    "two replace": (
        "links:\n  - {direction: auxiliary -> q, operations: [identity], converges_to: free, combine: replace}\n",
        {"p": {}, "q": {}, "r": {}, "t": {}},
        "3:5: links[0].where: 2 links replace q:a, one is possible\n  fix: max_gap: 0, from one task",
    ),
    "too many": (
        "links:\n  - {direction: primary -> auxiliary, operations: [conv1x1], converges_to: free, max_links: 1}\n",
        {"p": {}, "q": {}},
        "3:93: links[0].max_links: more than 1 links\n  fix: narrow where:, or raise max_links: 2",
    ),
    "a free way in": (
        "links:\n" + RULE.replace("DIRECTION", "q -> p").replace("END", "free"),
        {"p": {}, "q": {}},
        "3:62: links[0].converges_to: an auxiliary would reach the primary at inference: q:b -> p:b -> p:head -> p:prediction\n"
        "  fix: converges_to: zero, or constraints: {inference: all}",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_spaces_that_do_not_fit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, tasks, expected = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    rules = rule_file(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        gn.weave({task: branch(**options) for task, options in tasks.items()}, primary="p", space=rules)
    assert str(caught.value) == f"space.yaml:{expected}"


def test_stages_in_another_order() -> None:
    with pytest.raises(SpecError) as caught:
        gn.weave({"p": branch(), "q": branch(taps={"s2": "a", "s1": "b"})}, primary="p", space=space(P2A))
    assert str(caught.value) == (
        "q runs its stages in the order s2, s1, p in the order s1, s2\n  fix: give stages of equal names the same order"
    )


def test_inference_all_may_keep_links_into_the_primary() -> None:
    rules = space({"direction": "auxiliary -> primary", "converges_to": "free"}, constraints={"inference": "all"})
    net = gn.weave({"p": branch(), "q": branch()}, primary="p", space=rules).eval()
    with torch.no_grad():
        for operations in net.link_operations.values():
            for parameter in operations["conv1x1"].parameters():
                parameter.normal_()
    pruned = gn.prune(net)
    assert torch.equal(pruned.module(X), net(X)["p"])
    assert not pruned.certificate.holds
