"""Fusion by hand-computed formulas, in float64, with random link weights and alphas; all forms of values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphnas as gn
from tests.builders import IMAGE, INTO, OUT, chain, conv, image, randomize, space


def weight(net: gn.Supernet, link: str, name: str = "conv1x1") -> Tensor:
    found = net.link_operations[link][name].weight
    assert isinstance(found, Tensor)
    return found


def pointwise(x: Tensor, w: Tensor) -> Tensor:
    return F.conv2d(x, w[:, :, None, None])


def part(net: gn.Supernet, path: str, x: Tensor) -> Tensor:
    return net.get_submodule(f"branches.{path}")(x)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def woven(*rules: dict[str, Any], taps: Any = None, **more: Any) -> gn.Supernet:
    branches = {"p": chain(taps=taps), "q": chain(5, taps=taps)}
    return randomize(gn.weave(branches, primary="p", space=space(*rules, **more)).double()).eval()


def test_gradients_of_the_published_sum() -> None:
    net, x = woven(INTO, OUT), IMAGE.double()
    links = list(net.links)
    parameters = [*(weight(net, link.id) for link in links), *(net.alphas[link.id] for link in links)]
    gates = {link.id: net.alphas[link.id].sigmoid() for link in links}

    def sent(link: str, value: Tensor) -> Tensor:
        return gates[link] * pointwise(value, weight(net, link))

    p1, q1 = part(net, "p.a", x), part(net, "q.a", x)
    p2, q2 = part(net, "p.b", F.relu(p1 + sent("q:a->p:a", q1))), part(net, "q.b", F.relu(q1 + sent("p:a->q:a", p1)))
    outputs = part(net, "p.head", p2 + sent("q:b->p:b", q2)), part(net, "q.head", q2 + sent("p:b->q:b", p2))
    expected = torch.autograd.grad((outputs[0] ** 2).mean() + outputs[1].tanh().mean(), parameters)
    out = net(x)
    found = torch.autograd.grad((out["p"] ** 2).mean() + out["q"].tanh().mean(), parameters)
    for one, other in zip(found, expected, strict=True):
        close(one, other)
        assert float(other.abs().max()) > 0


@pytest.mark.parametrize("gate", ["sigmoid", "clamp01", "clamp11", "projected01", "softmax", "fixed"])
def test_several_candidates_are_summed_with_their_gates(gate: str) -> None:
    operations = ["conv1x1", "none", "conv3x3", {"op": "conv1x1", "initial": "kaiming"}]
    net, x = woven({**OUT, "operations": operations, "gate": gate, "where": {"at": "stage_end"}}, taps={"s": "a"}), IMAGE.double()
    link = "p:a->q:a"
    assert net.links[0].operations == ("conv1x1", "none", "conv3x3", "conv1x1_2")
    assert list(net.link_operations[link]) == ["conv1x1", "conv3x3", "conv1x1_2"]
    alpha, source = net.alphas[link].detach(), part(net, "p.a", x)
    gates: dict[str, Callable[[Tensor], Tensor]] = {
        "sigmoid": torch.sigmoid,
        "clamp01": lambda a: a.clamp(0, 1),
        "clamp11": lambda a: a.clamp(-1, 1),
        "softmax": lambda a: a.softmax(0),
    }
    g = gates.get(gate, lambda a: a)(alpha)
    close(net.gates()[link], g)
    arrived = (
        g[0] * pointwise(source, weight(net, link))
        + g[2] * F.conv2d(source, weight(net, link, "conv3x3"), padding=1)
        + g[3] * pointwise(source, weight(net, link, "conv1x1_2"))
    )
    close(gn.tap_values(net, x)["q", "a"], part(net, "q.a", x) + arrived)


def test_a_mix_of_several_links_and_candidates() -> None:
    rule = {**OUT, "combine": "mix", "operations": ["conv1x1", "none"], "gate": {"initial": 0.8}}
    net, x = woven(rule, taps={"s": ["a", "b"]}), IMAGE.double()
    alphas = [net.alphas["p:a->q:b"], net.alphas["p:b->q:b"]]
    shares = torch.cat([torch.zeros(1, dtype=torch.float64), *alphas]).softmax(0)
    values = gn.tap_values(net, x)
    before = part(net, "q.b", F.relu(values["q", "a"]))
    sources = part(net, "p.a", x), part(net, "p.b", F.relu(part(net, "p.a", x)))
    arrived = shares[1] * pointwise(sources[0], weight(net, "p:a->q:b")) + shares[3] * pointwise(sources[1], weight(net, "p:b->q:b"))
    close(values["q", "b"], shares[0] * before + arrived)
    close(torch.cat([net.gates()["p:a->q:b"], net.gates()["p:b->q:b"]]), shares[1:])
    fresh = gn.weave({"p": chain(taps={"s": ["a", "b"]}), "q": chain(taps={"s": ["a", "b"]})}, primary="p", space=space(rule))
    assert float(fresh.gates()["p:a->q:a"].detach().sum()) == pytest.approx(0.8)
    assert sum(float(fresh.gates()[link].detach().sum()) for link in ("p:a->q:b", "p:b->q:b")) == pytest.approx(0.8)


def test_a_replaced_value_is_what_links_from_that_tap_send() -> None:
    rules = [
        {"direction": "p -> q", "operations": ["conv1x1"], "converges_to": "free", "combine": "replace"},
        {"direction": "q -> r", "operations": ["identity"], "converges_to": "free"},
    ]
    branches = {task: chain(taps={"s": "b"}) for task in ("p", "q", "r")}
    net = randomize(gn.weave(branches, primary="p", space=space(*rules)).double()).eval()
    x = IMAGE.double()
    values = gn.tap_values(net, x)
    replaced = pointwise(values["p", "b"], weight(net, "p:b->q:b"))
    close(values["q", "b"], replaced)
    gate = net.alphas["q:b->r:b"].sigmoid()
    close(values["r", "b"], part(net, "r.b", F.relu(part(net, "r.a", x))) + gate * replaced)
    assert list(net.alphas) == ["q:b->r:b"]
    assert "p:b->q:b" not in net.gates()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu, "silu": F.silu}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", ["none", "batch_norm", "layer_norm"])
@pytest.mark.parametrize("on", ["sum", "links"])
@pytest.mark.parametrize("combine", ["add", "mix"])
def test_norm_and_activation(combine: str, on: str, norm: str, activation: str) -> None:
    fusion = {"combine": combine, "norm": {"type": norm, "eps": 1e-2, "momentum": 0.5}, "activation": activation, "on": on}
    net, x = woven({**OUT, "where": {"at": "stage_end"}}, taps={"s": "a"}, fusion=fusion), IMAGE.double()
    own, gate = part(net, "q.a", x), net.gates()["p:a->q:a"]
    arrived = gate * pointwise(part(net, "p.a", x), weight(net, "p:a->q:a"))
    kept = own if combine == "add" else (1 - gate) * own
    module = net.fusions["q", "a"].norm
    for training in (True, False):
        net.train(training)

        def after(value: Tensor, training: bool = training) -> Tensor:
            if isinstance(module, nn.LayerNorm):
                mean, variance = value.mean(1, keepdim=True), value.var(1, keepdim=True, unbiased=False)
                value = (value - mean) / (variance + 1e-2).sqrt() * module.weight[:, None, None] + module.bias[:, None, None]
            elif isinstance(module, nn.BatchNorm2d):
                mean, variance = module.running_mean, module.running_var
                assert mean is not None
                assert variance is not None
                if training:
                    mean, variance = value.mean((0, 2, 3)), value.var((0, 2, 3), unbiased=False)
                value = (value - mean[:, None, None]) / (variance + 1e-2).sqrt()[:, None, None]
                value = value * module.weight[:, None, None] + module.bias[:, None, None]
            else:
                assert norm == "none"
            return ACTIVATIONS[activation](value)

        expected = kept + after(arrived) if on == "links" else after(kept + arrived)
        close(gn.tap_values(net, x)["q", "a"], expected)


class Tokenizer(nn.Module):
    """Patches of an image as tokens (N, 1 + L, D), with a class token, in two layers."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.first = nn.Linear(width, width)
        self.head = nn.Linear(width, 2)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.embed(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        return self.head(self.first(tokens).mean(1))


class ChannelsLast(nn.Module):
    """A layer that works on (N, H, W, C)."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.stem = conv()
        self.mix = nn.Linear(4, 4)
        self.act = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.act(self.mix(self.stem(image).permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


def test_links_between_tokens_images_and_channels_last() -> None:
    x = image(2, 3, 8, 8)
    rule = {**OUT, "operations": [{"op": "conv1x1", "prefix": 1}]}
    tokens = gn.Branch.from_module(Tokenizer(6, 2), taps={"s": "first"}, example=x)
    images = gn.Branch.from_module(ChannelsLast(inplace=True), taps={"s": {"match": "mix", "layout": "nhwc"}}, example=x)
    assert str(images.taps[0].type) == "image[4, 8, 8]"
    x = x.double()

    net = randomize(gn.weave({"p": tokens, "q": images}, primary="p", space=space(rule)).double()).eval()
    link = "p:first->q:mix"
    own = part(net, "q.mix", part(net, "q.stem", x).permute(0, 2, 3, 1))
    patches = gn.tap_values(net, x)["p", "first"][:, 1:].transpose(1, 2).reshape(2, 6, 4, 4)
    gate = net.gates()[link]
    arrived = F.interpolate(gate * pointwise(patches, weight(net, link)), size=(8, 8), mode="bilinear")
    close(gn.tap_values(net, x)["q", "mix"], own + arrived.movedim(1, -1))

    net = randomize(gn.weave({"p": images, "q": tokens}, primary="p", space=space(rule)).double()).eval()
    link = "p:mix->q:first"
    source = gn.tap_values(net, x)["p", "mix"].movedim(-1, 1)
    close(source.movedim(1, -1), part(net, "p.mix", part(net, "p.stem", x).permute(0, 2, 3, 1)))
    small = net.gates()[link] * pointwise(F.interpolate(source, size=(4, 4), mode="bilinear"), weight(net, link))
    arrived = F.pad(small.flatten(2).transpose(1, 2), (0, 0, 1, 0))
    embedded = part(net, "q.embed", x).flatten(2).transpose(1, 2)
    own = part(net, "q.first", torch.cat([embedded.mean(1, keepdim=True), embedded], 1))
    close(gn.tap_values(net, x)["q", "first"], own + arrived)
    assert net.fusions["q", "first"].norm is None


def test_tokens_of_one_length_are_mapped_alone() -> None:
    x = image(2, 3, 8, 8)
    branches = {task: gn.Branch.from_module(Tokenizer(width, 2), taps={"s": "first"}, example=x) for task, width in (("p", 6), ("q", 3))}
    net = randomize(gn.weave(branches, primary="p", space=space(OUT, fusion={"norm": "batch_norm"})).double()).eval()
    link, x = "p:first->q:first", x.double()
    assert weight(net, link).shape == (3, 6)
    embedded = part(net, "q.embed", x).flatten(2).transpose(1, 2)
    own = part(net, "q.first", torch.cat([embedded.mean(1, keepdim=True), embedded], 1))
    arrived = net.gates()[link] * gn.tap_values(net, x)["p", "first"] @ weight(net, link).T
    norm = net.fusions["q", "first"].norm
    assert isinstance(norm, nn.BatchNorm1d)
    expected = F.batch_norm((own + arrived).transpose(1, 2), norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-3)
    close(gn.tap_values(net, x)["q", "first"], expected.transpose(1, 2))


def test_links_at_another_size_than_the_recorded_one() -> None:
    net, x = woven(INTO, OUT), image(1, 3, 9, 14).double()
    assert net(x)["p"].shape == (1, 2, 9, 14)
    assert gn.tap_values(net, x)["q", "b"].shape == (1, 5, 9, 14)


def test_a_link_of_nothing_but_none_changes_nothing() -> None:
    for inplace in (False, True):
        branches = {"p": chain(inplace=inplace), "q": chain(inplace=inplace)}
        net = randomize(gn.weave(branches, primary="p", space=space({**INTO, "operations": ["none"]}, OUT))).eval()
        own = part(net, "p.a", IMAGE)
        values = gn.tap_values(net, IMAGE)
        assert torch.equal(values["p", "a"], own)
        sent = net.gates()["p:a->q:a"] * pointwise(own, weight(net, "p:a->q:a"))  # what p goes on to change in place, as it was
        torch.testing.assert_close(values["q", "a"], part(net, "q.a", IMAGE) + sent)
        assert {link: float(value.detach().sum()) for link, value in net.contributions().items() if link.startswith("q:")} == {
            "q:a->p:a": 0,
            "q:b->p:b": 0,
        }
        assert gn.prune(net).certificate.holds


@pytest.mark.parametrize("fusion", [{}, {"norm": "batch_norm", "on": "links"}, {"combine": "mix"}, {"activation": "gelu", "on": "links"}])
def test_closed_links_are_absent(fusion: dict[str, Any]) -> None:
    net, x = woven(INTO, fusion={"primary": fusion}), IMAGE.double()
    open_value = net(x)["p"]
    for found in net.fusions.values():
        found.closed = frozenset(link.id for link in net.links)
    assert torch.equal(net(x)["p"], net.recorded["p"].module(x))
    assert not torch.equal(net(x)["p"], open_value)


def test_batch_norm_takes_the_settings_of_the_space() -> None:
    fusion = {"auxiliary": {"norm": {"type": "batch_norm", "momentum": 0.25}}, "q": {"norm": {"type": "batch_norm"}, "activation": "silu"}}
    branches = {task: chain(taps={"s": "a"}) for task in ("p", "q", "r")}
    net = gn.weave(branches, primary="p", space=space({"direction": "auxiliary -> primary", "converges_to": "zero"}, OUT, fusion=fusion))
    norms = {key: fusion.norm for key, fusion in net.fusions.items()}
    assert norms["p", "a"] is None
    q, r = norms["q", "a"], norms["r", "a"]
    assert isinstance(q, nn.BatchNorm2d)
    assert isinstance(r, nn.BatchNorm2d)
    assert (q.momentum, q.eps, r.momentum, r.eps) == (0.05, 1e-3, 0.25, 1e-3)
    assert {key: fusion.activation for key, fusion in net.fusions.items()} == {("p", "a"): "none", ("q", "a"): "silu", ("r", "a"): "none"}


# -- penalties and what follows a step on the alphas


@pytest.mark.parametrize("of", ["gate", "contribution"])
def test_l1_is_that_of_all_candidates(of: str) -> None:
    penalty = {"type": "l1", "of": of, "strength": 10, "ramp": [0.5, 1.0]}
    net = woven({**INTO, "penalty": penalty, "operations": ["conv1x1", "none", "identity"], "gate": "softmax"}, taps={"s": ["a"]})
    gates = net.alphas["q:a->p:a"].softmax(0)
    gains = [weight(net, "q:a->p:a").norm() / math.sqrt(4), weight(net, "q:a->p:a", "identity").norm() / math.sqrt(4)]
    expected = gates[0] + gates[2] if of == "gate" else gates[0] * gains[0] + gates[2] * gains[1]
    close(gn.penalty(net, 0.75), 5 * expected)
    (grad,) = torch.autograd.grad(gn.penalty(net, 1.0), net.alphas["q:a->p:a"])
    assert float(grad.abs().max()) > 0


def test_entropy_is_the_mean_over_gates() -> None:
    rules = [
        {**OUT, "penalty": {"type": "entropy", "strength": 3}, "converges_to": "binary"},
        {**INTO, "penalty": {"type": "l1", "strength": 2}},
    ]
    net = woven(*rules)
    gates = torch.cat([net.gates()[link.id] for link in net.links if link.direction == "p2a"])
    entropy = -(gates * gates.log() + (1 - gates) * (1 - gates).log()).mean()
    l1 = torch.cat([net.gates()[link.id] for link in net.links if link.direction == "a2p"]).mean()
    torch.testing.assert_close(gn.penalty(net, 1.0), 3 * entropy + 2 * l1, rtol=1e-6, atol=1e-9)


def test_a_step_on_projected_gates() -> None:
    gate, penalty = {"function": "projected01", "initial": 0.4}, {"type": "proximal", "strength": 6, "ramp": [0.0, 0.5]}
    net = gn.weave(
        {"p": chain(), "q": chain()}, primary="p", space=space({**INTO, "gate": gate, "penalty": penalty}, {**OUT, "gate": gate})
    )
    into, out = net.alphas["q:a->p:a"], net.alphas["p:a->q:a"]
    with torch.no_grad():
        into.fill_(1.7)
        out.fill_(-0.3)
    net.after_alpha_step(0.1, 0.25)  # half the strength, two links: 0.1 * 3 / 2
    assert float(into.detach()) == pytest.approx(0.85)
    assert float(out.detach()) == 0
    for _ in range(3):
        net.after_alpha_step(0.1, 1.0)
    assert float(into.detach()) == 0
    assert gn.prune(net).certificate.largest_contribution == 0
    assert net.ramp_end == 0.5
    assert float(gn.penalty(net, 1.0)) == 0
