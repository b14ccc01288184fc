"""What stays at inference: gates that converge to 0 or 1 become that, what is at 0 goes, and the certificate says what is left."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import graphnas as gn
from graphnas.errors import PruneError
from graphnas.prune import changed_at_inference, cut_view
from tests.builders import IMAGE, INTO, OUT, chain, randomize, space

BINARY: dict[str, Any] = {"direction": "any -> any", "converges_to": "binary", "tolerance": 0.1}
ALL: dict[str, Any] = {"constraints": {"inference": "all"}}


def woven(*rules: dict[str, Any], tasks: str = "pq", **more: Any) -> gn.Supernet:
    net = gn.weave({task: chain() for task in tasks}, primary="p", space=space(*rules, **more))
    return randomize(net).eval()


def set_gates(net: gn.Supernet, gates: dict[str, float]) -> None:
    """Sigmoid gates of these values, by link; 0.01 of all others."""
    with torch.no_grad():
        for link, alpha in net.alphas.items():
            alpha.fill_(torch.logit(torch.tensor(gates.get(link, 0.01))).item())


def test_gates_between_0_and_1_are_refused_and_can_be_rounded_all_the_same() -> None:
    net = woven(BINARY, **ALL)
    set_gates(net, {"q:a->p:a": 0.75, "p:a->q:a": 0.35, "p:b->q:b": 0.4})
    with pytest.raises(PruneError) as caught:
        gn.prune(net)
    assert str(caught.value) == (
        "links[0].converges_to: 2 of 3 links have not converged to 0 or 1: p:a->q:a has a gate 0.35 from either, 0.1 is allowed\n"
        "  fix: train longer or with a stronger penalty; or round them all the same: --force (from Python: force=True)"
    )  # what p:b->q:b sends would not come back
    certificate = gn.prune(net, force=True).certificate
    assert certificate.forced
    assert (certificate.keeps, certificate.kept_links, certificate.binary_links) == ("all", 1, 4)
    assert certificate.largest_rounding == pytest.approx(0.4)
    assert certificate.supernet_difference == 0.0


def test_decided_links_are_whole_or_gone() -> None:
    net = woven({**BINARY, "operations": ["conv1x1", "conv3x3"]}, **ALL)
    with torch.no_grad():
        for alpha in net.alphas.values():
            alpha.fill_(-9)
        net.alphas["q:b->p:b"][1] = 9
    pruned = gn.prune(net)
    assert not pruned.certificate.forced
    state = pruned.module.state_dict()
    assert {name for name in state if name.startswith("joints.")} == {
        "joints.p.b.links.0.conv3x3.weight",  # the other candidate is gone, and so is the alpha
        "joints.p.b.links.0.settled",
    }
    assert state["joints.p.b.links.0.settled"].tolist() == [1.0]
    assert torch.equal(pruned.module(IMAGE), cut_view(net)(IMAGE)["p"])
    branch = sum(parameter.numel() for name, parameter in net.named_parameters() if name.startswith(("branches.q.a", "branches.q.b")))
    assert pruned.certificate.parameters == pruned.certificate.parameters_single_task + branch + 9 * 4 * 4
    assert pruned.certificate.to_dict()["macs_ratio"] == pruned.certificate.macs / pruned.certificate.macs_single_task > 2


def test_a_network_without_open_links_is_the_single_task_network() -> None:
    net = woven(BINARY, **ALL)
    set_gates(net, {})
    pruned = gn.prune(net)
    assert pruned.certificate.holds
    assert (pruned.keeps, pruned.kept, pruned.certificate.macs_ratio, pruned.certificate.parameters_ratio) == ("primary", None, 1.0, 1.0)


def test_links_to_the_auxiliary_may_be_anything_where_the_primary_alone_is_kept() -> None:
    net = woven({**OUT, "converges_to": "binary"})
    set_gates(net, {"p:a->q:a": 0.3})
    certificate = gn.prune(net).certificate
    assert certificate.holds
    assert not certificate.forced
    assert (certificate.binary_links, certificate.largest_rounding) == (2, pytest.approx(0.3))
    assert not changed_at_inference(net)


@pytest.mark.parametrize("combine", ["add", "mix"])
def test_gates_that_stay_are_constants(combine: str) -> None:
    net = woven({**BINARY, "converges_to": "free", "combine": combine}, tasks="pqr", **ALL)
    pruned = gn.prune(net)
    assert torch.equal(pruned.module(IMAGE), net(IMAGE)["p"])
    assert not [name for name in pruned.module.state_dict() if "alpha" in name]
    settled = {tuple(value.shape) for name, value in pruned.module.state_dict().items() if name.endswith("settled")}
    assert settled == {(1,)}
    assert ("joints.p.a.share" in pruned.module.state_dict()) == (combine == "mix")
    pruned.module.train()
    assert torch.equal(pruned.module(IMAGE), net(IMAGE)["p"])


def test_a_norm_of_what_arrives_stays_with_a_link_that_is_closed() -> None:
    net = woven(BINARY, fusion={"norm": "batch_norm", "on": "links"}, **ALL)
    set_gates(net, {})
    pruned = gn.prune(net)
    assert pruned.certificate.supernet_difference == 0.0
    assert torch.equal(pruned.module(IMAGE), cut_view(net)(IMAGE)["p"])
    assert pruned.keeps == "all"


def test_a_fusion_with_an_operation_stays_after_the_links() -> None:
    fusion = {"self": {"op": "conv1x1", "initial": 0.9}, "norm": "batch_norm", "activation": "relu"}
    net = woven(INTO, OUT, fusion=fusion, constraints={"inference": "primary+fusion"})
    pruned = gn.prune(net, force=True)
    certificate = pruned.certificate
    assert (certificate.keeps, certificate.kept_links, certificate.holds) == ("primary+fusion", 0, False)
    assert certificate.supernet_difference == 0.0
    assert certificate.parameters == certificate.parameters_single_task + 2 * (4 * 4 + 2 * 4)
    assert certificate.macs == certificate.macs_single_task + 2 * 4 * 4 * 36
    assert torch.equal(pruned.module(IMAGE), cut_view(net)(IMAGE)["p"])


def test_an_auxiliary_that_reads_another_input_stays_with_it() -> None:
    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Conv2d(1, 4, 1)
            self.head = torch.nn.Conv2d(4, 2, 1)

        def forward(self, infrared: torch.Tensor) -> torch.Tensor:
            return self.head(self.a(infrared))

    infrared = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    branches = {"p": chain(), "q": gn.Branch.from_module(Other(), taps={"s1": "a"}, example=infrared)}
    rule = {"direction": "auxiliary -> primary", "converges_to": "free"}
    net = randomize(gn.weave(branches, primary="p", space=space(rule, **ALL))).eval()
    pruned = gn.prune(net)
    assert pruned.certificate.supernet_difference == 0.0
    assert torch.equal(pruned.module(image=IMAGE, infrared=infrared), net(image=IMAGE, infrared=infrared)["p"])
