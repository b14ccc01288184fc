"""Pruned == supernet with those links closed == a fresh single-task network, exactly, whatever the other weights are."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import graphnas as gn
from graphnas.errors import PruneError
from graphnas.prune import cut_view, links_to_cut
from graphnas.spec import parse_spec

X = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))


class RandomDag(nn.Module):
    """A random network: each block reads one or two values made before; some change their input in place."""

    def __init__(self, seed: int, blocks: int) -> None:
        super().__init__()
        choose = random.Random(seed)
        self.stem = nn.Conv2d(3, 4, 1)
        self.blocks = nn.ModuleList()
        self.reads: list[tuple[int, ...]] = []
        for i in range(blocks):
            kind = choose.choice(["conv", "norm", "act", "inplace"])
            made = {"conv": nn.Conv2d(4, 4, 3, padding=1), "norm": nn.BatchNorm2d(4), "act": nn.Tanh(), "inplace": nn.ReLU(inplace=True)}
            self.blocks.append(made[kind])
            self.reads.append(tuple(choose.randrange(i + 1) for _ in range(choose.choice([1, 1, 2]))))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        values = [self.stem(image)]
        for block, reads in zip(self.blocks, self.reads, strict=True):
            read = values[reads[0]] if len(reads) == 1 else values[reads[0]] + values[reads[1]]
            values.append(block(read))
        return self.head(values[-1] + values[0])


def rules(choose: random.Random) -> dict[str, Any]:
    operations = choose.choice([["conv1x1"], ["conv3x3"], ["conv1x1", "identity"], ["identity", "none"]])
    where = {"max_gap": choose.choice([None, 0, 1, 3]), "at": choose.choice(["every", "stage_end"])}
    into = {"direction": "auxiliary -> primary", "converges_to": "zero", "operations": operations, "where": where}
    out = {"direction": "primary -> auxiliary", "converges_to": "free", "operations": operations, "where": where}
    if choose.random() < 0.5:
        into["combine"] = "mix"
    return {"kind": "search_space", "links": [into, out]}


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_pruned_is_the_supernet_with_the_links_closed(seed: int) -> None:
    choose = random.Random(seed)
    torch.manual_seed(seed)
    taps = {"s1": "blocks.*"}
    modules = {task: RandomDag(choose.randrange(10**6), choose.randint(1, 6)) for task in ("p", "q", "r")}
    branches = {task: gn.Branch.from_module(module, taps=taps, example=X) for task, module in modules.items()}
    net = gn.weave(branches, primary="p", space=parse_spec(rules(choose))).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.startswith("joints."):
                parameter.add_(torch.randn_like(parameter))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    pruned = gn.prune(net, force=True)
    x = torch.rand(3, 3, 7, 6)
    assert pruned.certificate.holds
    assert pruned.certificate.supernet_difference == 0.0
    assert torch.equal(cut_view(net)(x)["p"], pruned.module(x))
    for fusion in net.fusions.values():
        fusion.closed = frozenset(link.id for link in links_to_cut(net))
    assert torch.equal(net(x)["p"], pruned.module(x))
    fresh = RandomDag(0, 0)
    fresh.blocks, fresh.reads = modules["p"].blocks, modules["p"].reads
    fresh.load_state_dict(pruned.module.state_dict(), strict=True)
    assert torch.equal(fresh.eval()(x), pruned.module(x))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Small(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, width, 1)
        self.b = nn.Conv2d(width, width, 1)
        self.unused = nn.Linear(2, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.b(self.a(image).relu())


def supernet(*links: dict[str, Any], **more: Any) -> gn.Supernet:
    space = parse_spec({"kind": "search_space", "links": [{"operations": ["conv1x1"], **link} for link in links], **more})
    taps = {"s1": "a", "s2": "b"}
    net = gn.weave({task: gn.Branch.from_module(Small(), taps=taps, example=X) for task in ("p", "q")}, primary="p", space=space)
    with torch.no_grad():
        for operations in net.link_operations.values():
            for module in operations.values():
                for parameter in module.parameters():
                    parameter.copy_(torch.eye(4))
    return net.eval()


INTO: dict[str, Any] = {"direction": "auxiliary -> primary", "converges_to": "zero"}


def test_links_that_have_not_converged_are_refused() -> None:
    net = supernet({**INTO, "gate": {"initial": 0.3}, "where": {"at": "stage_end"}})
    with pytest.raises(PruneError) as caught:
        gn.prune(net)
    assert str(caught.value) == (
        "links[0].converges_to: 2 of 2 links have not converged to zero: q:a->p:a still contributes 0.3, 0.001 is allowed\n"
        "  fix: train longer or with a stronger penalty; or cut them all the same: --force (from Python: force=True)"
    )
    forced = gn.prune(net, force=True).certificate
    assert forced.holds
    assert forced.forced
    assert forced.cut_links == 2
    assert forced.largest_contribution == pytest.approx(0.3)
    with torch.no_grad():
        for alpha in net.alphas.values():
            alpha.fill_(-20)
    certificate = gn.prune(net).certificate
    assert certificate.holds
    assert not certificate.forced


def test_unused_modules_keep_their_place() -> None:
    pruned = gn.prune(supernet(INTO), force=True)
    assert list(pruned.module.state_dict()) == list(Small().state_dict())


def test_a_certificate_can_fail() -> None:
    net = supernet(INTO)
    other = gn.prune(net, force=True, fresh=Small(5)).certificate
    assert other.names_equal
    assert not other.shapes_equal
    assert other.output_difference is None
    assert not other.holds

    class Doubling(Small):
        def forward(self, image: Tensor) -> Tensor:
            return 2 * super().forward(image)

    different = gn.prune(net, force=True, fresh=Doubling()).certificate
    assert different.names_equal
    assert different.shapes_equal
    assert not different.operations_equal
    assert different.output_difference is not None
    assert different.output_difference > 0
    assert not different.holds


def test_norms_stay_where_inference_keeps_fusions() -> None:
    fusion = {"norm": "batch_norm", "activation": "relu"}
    net = supernet(INTO, fusion=fusion, constraints={"inference": "primary+fusion"})
    pruned = gn.prune(net, force=True)
    assert not pruned.certificate.holds
    assert torch.equal(pruned.module(X), cut_view(net)(X)["p"])
    assert not [name for name in pruned.module.state_dict() if "branches.q" in name]


def test_a_fusion_goes_on_with_the_links_that_are_left() -> None:
    kept = {"direction": "r -> p", "converges_to": "free"}
    space = parse_spec(
        {
            "kind": "search_space",
            "links": [{"direction": "q -> p", "converges_to": "zero", "operations": ["identity"]}, {**kept, "operations": ["identity"]}],
            "constraints": {"inference": "all"},
        }
    )
    branches = {task: gn.Branch.from_module(Small(), taps={"s": "a"}, example=X) for task in ("p", "q", "r")}
    net = gn.weave(branches, primary="p", space=space).eval()
    pruned = gn.prune(net, force=True)
    for fusion in net.fusions.values():
        fusion.closed = frozenset({"q:a->p:a"})
    assert torch.equal(pruned.module(X), net(X)["p"])
    assert not [name for name in pruned.module.state_dict() if name.startswith("branches.q")]


def test_a_cut_view_shares_parameters() -> None:
    net = supernet(INTO)
    parameters = {id(parameter) for parameter in cut_view(net).parameters()}
    assert parameters <= {id(parameter) for parameter in net.parameters()}
    assert len(parameters) == 4
