"""The search spaces that come with graphnas, on networks of every kind: they compile, and what is pruned is what was evaluated."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler import infer, lower
from graphnas.compiler.build import spec_branch
from graphnas.compiler.fusion import Fusion
from graphnas.errors import SpecError
from graphnas.gates.gumbel import Gumbel
from graphnas.graph.types import Image
from graphnas.prune import cut_view, links_to_cut
from graphnas.spec import NetworkSpec, parse_spec, presets
from graphnas.spec.writing import dump_spec
from tests.builders import IMAGE, OUT, RandomDag, chain, image, randomize, space
from tests.strategies import Data, networks

SPACES = list(presets("search_space"))
KEEPING = {"nddr", "cross-stitch", "mtl-nas"}
ANY = {"direction": "any -> any", "converges_to": "free", "gate": "fixed"}


def woven(name: str, tasks: str = "pqr", **options: Any) -> gn.Supernet:
    taps = {"s1": ["a", "act"], "s2": "b"}
    return gn.weave({task: chain(taps=taps, **options) for task in tasks}, primary="p", space=gn.load_spec(name))


def random_but_open(net: gn.Supernet) -> gn.Supernet:
    """Random in all but the gates, which are fixed at 1; in float64, to compare."""
    randomize(net.double()).eval()
    with torch.no_grad():
        for alpha in net.alphas.values():
            alpha.fill_(1)
    return net


def part(net: gn.Supernet, path: str, x: Tensor) -> Tensor:
    return net.get_submodule(f"branches.{path}")(x)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# -- all of them


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=2)
@given(st.integers(0, 10**6))
@example(5728)  # an auxiliary's value that is changed in place before it is sent
def test_pruned_is_the_supernet_at_inference_on_random_networks(name: str, seed: int) -> None:
    choose = random.Random(seed)
    torch.manual_seed(seed)
    modules = {task: RandomDag(choose.randrange(10**6), choose.randint(1, 5)) for task in ("p", "q")}
    branches = {task: gn.Branch.from_module(module, taps={"s1": "blocks.*"}, example=image(2, 3, 5, 5)) for task, module in modules.items()}
    net = randomize(gn.weave(branches, primary="p", space=gn.load_spec(name)), seed).eval()
    pruned = gn.prune(net, force=True)
    x = image(3, 3, 5, 5)
    assert pruned.certificate.supernet_difference == 0.0
    assert torch.equal(cut_view(net)(x)["p"], pruned.module(x))
    assert pruned.certificate.holds == (pruned.keeps == "primary")
    assert name in KEEPING or pruned.certificate.holds
    with torch.no_grad():
        for fusion in net.fusions.values():
            fusion.closed = frozenset(link.id for link in links_to_cut(net))
            fusion.rounded = frozenset(link.id for link in net.links if net.rule_of(link).converges_to == "binary")
    assert torch.equal(net(x)["p"], pruned.module(x))


@pytest.mark.parametrize("name", SPACES)
def test_they_survive_being_written(name: str) -> None:
    loaded = gn.load_spec(name)
    assert gn.parse_spec(dump_spec(loaded), kind="search_space") == loaded


@pytest.mark.parametrize("name", SPACES)
def test_no_auxiliary(name: str) -> None:
    loaded = gn.load_spec(name)
    if not loaded.links:
        assert not gn.weave({"p": chain()}, primary="p", space=loaded).links
        return
    with pytest.raises(SpecError) as caught:
        gn.weave({"p": chain()}, primary="p", space=loaded)
    messages = [(problem.message, problem.fix) for problem in caught.value.problems]
    assert messages == [
        (f"{rule.direction} yields no link: there is no auxiliary task", "add an auxiliary, or use space: single-task")
        for rule in loaded.links
    ]


@pytest.mark.parametrize("tasks", ["p", "pq"])
def test_a_penalty_on_links_between_auxiliaries_needs_two(tasks: str) -> None:
    rule = {"direction": "auxiliary -> auxiliary", "converges_to": "free", "penalty": "l1"}
    with pytest.raises(SpecError) as caught:
        gn.weave({task: chain() for task in tasks}, primary="p", space=space(rule))
    assert str(caught.value) == (
        "links[0].direction: auxiliary -> auxiliary yields no link: there is no auxiliary task\n"
        "  fix: add an auxiliary, or use space: single-task"
        if tasks == "p"
        else "links[0].direction: auxiliary -> auxiliary yields no link: both ends are q, and a task is not linked with itself\n"
        "  fix: name another task, or leave the rule out"
    )


@pytest.mark.parametrize("name", sorted(KEEPING))
def test_what_keeps_branches_is_refused_where_the_primary_alone_is_wanted(name: str) -> None:
    written: dict[str, Any] = dump_spec(gn.load_spec(name)) | {"constraints": {"inference": "primary"}}
    with pytest.raises(SpecError) as caught:
        gn.parse_spec(written, kind="search_space")
    found = {problem.path: (problem.message, problem.fix) for problem in caught.value.problems}
    ends = written["links"][0]["converges_to"]
    stays = "acts on the primary's own value and would stay after the links are cut"
    fusion = {"norm": "this norm", "activation": "this activation"} if name != "cross-stitch" else {}
    assert found == {
        "links[0].converges_to": (
            f"any -> any converges to {ends}, and would stay in the primary",
            "converges_to: zero, or constraints: {inference: all}",
        ),
        "fusion.self": (
            f"this operation {stays}",
            "fusion: {auxiliary: {self: ...}}, or constraints: {inference: primary+fusion}",
        ),
        **{
            f"fusion.{part}": (f"{words} {stays}", "on: links, or constraints: {inference: primary+fusion}")
            for part, words in fusion.items()
        },
    }


# -- any -> any


def test_any_is_every_task() -> None:
    ends = {(link.source.task, link.destination.task, link.direction) for link in woven("nddr").links}
    assert ends == {
        ("p", "q", "p2a"),
        ("p", "r", "p2a"),
        ("q", "p", "a2p"),
        ("r", "p", "a2p"),
        ("q", "r", "a2a"),
        ("r", "q", "a2a"),
    }
    one_way = gn.weave({task: chain() for task in "pq"}, primary="p", space=space({**OUT, "direction": "any -> auxiliary"}))
    assert [link.id for link in one_way.links] == ["p:a->q:a", "p:b->q:b"]


# -- NDDR-CNN and cross-stitch, by their formulas


def test_nddr_is_a_convolution_of_all_features_together() -> None:
    net = random_but_open(woven("nddr", "pq"))
    x = IMAGE.double()
    [own, other] = net.fusions["p", "act"].own, net.link_operations["q:act->p:act"]["conv1x1"]
    assert own is not None
    together = torch.cat([own.get_parameter("weight"), other.get_parameter("weight")], 1)[:, :, None, None]
    features = torch.cat([F.relu(part(net, "p.a", x)), F.relu(part(net, "q.a", x))], 1)
    norm = net.fusions["p", "act"].norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert (norm.eps, norm.momentum) == (1e-3, 0.05)
    close(gn.tap_values(net, x)["p", "act"], F.relu(norm(F.conv2d(features, together))))


def test_nddr_starts_at_nine_tenths_and_one_tenth() -> None:
    net = woven("nddr", "pq")
    for (task, tap), fusion in net.fusions.items():
        assert fusion.own is not None
        assert torch.equal(fusion.own.get_parameter("weight"), 0.9 * torch.eye(4)), (task, tap)
    for operations in net.link_operations.values():
        assert torch.equal(operations["conv1x1"].get_parameter("weight"), 0.1 * torch.eye(4))
    assert not list(net.alpha_parameters())


@pytest.mark.parametrize("per", ["channel", "tap"])
def test_cross_stitch_scales_own_and_other(per: str) -> None:
    rule = {**ANY, "where": {"at": "stage_end"}, "operations": [{"op": "scale", "initial": 0.1, "per": per}]}
    fusion = {"self": {"op": "scale", "initial": 0.9, "per": per}}
    net = gn.weave({"p": chain(), "q": chain()}, primary="p", space=space(rule, fusion=fusion, constraints={"inference": "all"}))
    x = IMAGE
    p, q = part(net, "p.a", x), part(net, "q.a", x)
    torch.testing.assert_close(gn.tap_values(net, x)["p", "a"], 0.9 * p + 0.1 * q)
    random_but_open(net)
    own, other = net.fusions["q", "a"].own, net.link_operations["p:a->q:a"]["scale"]
    assert own is not None
    factors = own.get_parameter("factor"), other.get_parameter("factor")
    assert factors[0].shape == ((4,) if per == "channel" else (1,))
    x = x.double()
    p, q = part(net, "p.a", x), part(net, "q.a", x)
    close(gn.tap_values(net, x)["q", "a"], factors[0][:, None, None] * q + factors[1][:, None, None] * p)
    trained = {id(parameter) for parameter in net.weight_parameters()}
    assert {id(factors[0]), id(factors[1])} <= trained


@pytest.mark.parametrize("operation", ["conv1x1", "scale", "conv3x3"])
@pytest.mark.parametrize("inplace", [False, True])
def test_an_identity_and_links_of_zero_are_the_single_tasks(operation: str, inplace: bool) -> None:
    rule = {**ANY, "operations": [{"op": operation, "initial": 0}], "where": {"at": "stage_end"}}
    rules = space(rule, fusion={"self": {"op": operation, "initial": 1}}, constraints={"inference": "all"})
    taps = {"s1": ["a", "act"], "s2": "b"}
    branches = {task: chain(taps=taps, inplace=inplace) for task in "pq"}
    net = gn.weave(branches, primary="p", space=rules).eval()
    for task, branch in branches.items():
        assert torch.equal(net(IMAGE)[task], branch.module.eval()(IMAGE))


@pytest.mark.parametrize("combine", ["add", "mix"])
@pytest.mark.parametrize("on", ["sum", "links"])
def test_an_operation_on_the_own_value_comes_first(combine: str, on: str) -> None:
    fusion = {"self": {"op": "conv1x1", "initial": "kaiming"}, "combine": combine, "activation": "silu", "on": on}
    rule = {**OUT, "where": {"at": "stage_end"}}
    net = gn.weave({"p": chain(), "q": chain()}, primary="p", space=space(rule, fusion=fusion))
    x = IMAGE.double()
    randomize(net.double()).eval()
    module, gate = net.fusions["q", "a"].own, net.gates()["p:a->q:a"]
    assert module is not None

    def pointwise(value: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(value, weight[:, :, None, None])

    own = pointwise(part(net, "q.a", x), module.get_parameter("weight"))
    arrived = gate * pointwise(part(net, "p.a", x), net.link_operations["p:a->q:a"]["conv1x1"].get_parameter("weight"))
    kept = own if combine == "add" else (1 - gate) * own
    expected = F.silu(kept + arrived) if on == "sum" else kept + F.silu(arrived)
    close(gn.tap_values(net, x)["q", "a"], expected)


# -- links by chance


def test_links_by_chance_are_those_of_the_seed() -> None:
    def chosen(fraction: float, seed: int) -> list[str]:
        taps = {"s": ["a", "act", "b"]}
        where = {"random": {"fraction": fraction, "seed": seed}}
        net = gn.weave({"p": chain(taps=taps), "q": chain(taps=taps)}, primary="p", space=space({**OUT, "where": where}))
        return [link.id for link in net.links]

    assert len(chosen(1, 0)) == 6
    assert chosen(0.5, 0) == ["p:a->q:act", "p:a->q:b", "p:act->q:b"] == chosen(0.5, 0)  # on any machine
    assert chosen(0.5, 1) != chosen(0.5, 0)
    assert [len(chosen(fraction, 3)) for fraction in (0.01, 0.2, 0.26, 0.74, 0.99)] == [1, 1, 2, 4, 6]
    assert set(chosen(0.2, 5)) < set(chosen(0.5, 5)) < set(chosen(0.9, 5))


def test_too_many_links_by_chance() -> None:
    rule = {**OUT, "where": {"random": 0.5}, "max_links": 1}
    taps = {"s": ["a", "act", "b"]}
    with pytest.raises(SpecError) as caught:
        gn.weave({"p": chain(taps=taps), "q": chain(taps=taps)}, primary="p", space=space(rule))
    assert str(caught.value) == "links[0].max_links: more than 1 links\n  fix: narrow where:, or raise max_links: 2"


# -- gates


def test_a_gumbel_gate_is_annealed_while_training_and_has_no_noise_else() -> None:
    net = woven("mtl-nas", "pq")
    assert net.anneals
    assert not woven("nddr", "pq").anneals
    links = [link for fusion in net.fusions.values() for link in fusion.fused_links()]

    def temperatures() -> set[float]:
        return {link.training_gate.temperature.start for link in links if isinstance(link.training_gate, Gumbel)}

    assert temperatures() == {1.0}
    net.before_step(0.5)
    assert [round(value, 6) for value in temperatures()] == [0.55]
    net.before_step(1.0)
    assert [round(value, 6) for value in temperatures()] == [0.1]
    with torch.no_grad():
        for alpha in net.alphas.values():
            alpha.copy_(torch.tensor([0.02, -0.03]))
    state = torch.random.get_rng_state()
    for gates in net.train().gates().values():  # what penalties and logs see
        torch.testing.assert_close(gates, torch.tensor([0.5, -0.5]).sigmoid())
    assert torch.equal(torch.random.get_rng_state(), state)
    draws = [net(IMAGE)["p"] for _ in range(2)]
    assert torch.equal(draws[0], draws[1]), "links of zero change nothing"
    randomize(net)
    assert not torch.equal(net(IMAGE)["p"], net(IMAGE)["p"])
    assert torch.equal(net.eval()(IMAGE)["p"], net(IMAGE)["p"])


def test_gates_trained_with_the_weights_are_no_alphas() -> None:
    rule = {**ANY, "gate": {"function": "sigmoid", "initial": 0.1, "train_with": "weights"}}
    net = gn.weave({"p": chain(), "q": chain()}, primary="p", space=space(rule, constraints={"inference": "all"}))
    assert not list(net.alpha_parameters())
    assert {id(alpha) for alpha in net.alphas.values()} <= {id(parameter) for parameter in net.weight_parameters()}


def test_rounded_gates_are_those_nearer() -> None:
    net = randomize(woven("mtl-nas", "pq")).eval()
    for (task, tap), fusion in net.fusions.items():
        whole = Fusion.rounding(fusion, [link.id for link in fusion.fused_links()])
        for link, gates in whole.gates().items():
            first, second = net.alphas[link].tolist()
            assert gates.tolist() == ([1, 0] if first > second else [0, 1]), (task, tap)


# -- networks spelled out in files


@settings(max_examples=8)
@given(name=st.sampled_from(SPACES), data=networks(), seed=st.integers(0, 99))
def test_pruned_is_the_supernet_at_inference_on_networks_of_files(name: str, data: Data, seed: int) -> None:
    single = [node for node, fields in data["nodes"].items() if node != "head" and fields.get("repeat", 1) == 1]
    written = {**data, "taps": {f"s{i}": node for i, node in enumerate(single[:3])}}

    def branch() -> gn.Branch:
        spec = parse_spec(written, kind="network")
        assert isinstance(spec, NetworkSpec)
        spec = spec.bind({"out_channels": 2})
        graph = infer(spec, {"image": Image(3, 6, 6)})
        return spec_branch(spec, graph, lower(spec, graph))

    net = randomize(gn.weave({"p": branch(), "q": branch()}, primary="p", space=gn.load_spec(name)), seed).eval()
    pruned = gn.prune(net, force=True)
    assert pruned.certificate.supernet_difference == 0.0
    assert pruned.certificate.holds == (pruned.keeps == "primary")
    assert torch.equal(cut_view(net)(IMAGE)["p"], net.recorded["p"].prediction_of(pruned.module(IMAGE)))
