"""Several auxiliaries: links among them, lighter ones and such of other families in one line, and rules that fit no pair of taps."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler.build import build
from graphnas.errors import SpecError
from graphnas.graph.types import Image
from graphnas.spec import SearchSpec
from tests.builders import IMAGE, INTO, OUT, Chain, chain, image, randomize, space

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
AMONG: dict[str, Any] = {"direction": "auxiliary -> auxiliary", "converges_to": "free"}
ASIDE = ("q", "r", "t")


def four(*rules: dict[str, Any], **more: Any) -> gn.Supernet:
    """A primary and three auxiliaries of different widths."""
    branches = {task: chain(width) for task, width in zip(("p", *ASIDE), (4, 5, 3, 6), strict=True)}
    return randomize(gn.weave(branches, primary="p", space=space(*rules, **more)).double()).eval()


def test_links_among_three_auxiliaries() -> None:
    net = four(INTO, OUT, AMONG)
    among = [link for link in net.links if link.direction == "a2a"]
    ends = {(link.source.task, link.destination.task) for link in among}
    assert ends == set(itertools.permutations(ASIDE, 2))  # all ordered pairs, none with itself
    assert len(among) == len(ends) * 2  # a -> a and b -> b
    assert all(link.source.task != link.destination.task for link in net.links)
    assert net.plan.proven == (
        "acyclic: 28 values, 24 links",
        "asymmetric: with the 6 links that converge to zero removed, no auxiliary value reaches p:prediction",
    )
    pruned = gn.prune(net.float(), force=True)
    assert torch.equal(pruned.module(IMAGE), net.recorded["p"].module(IMAGE))


def test_what_arrives_among_auxiliaries() -> None:
    net, x = four(OUT, AMONG), IMAGE.double()
    modules = {task: branch.module for task, branch in net.recorded.items()}
    own: dict[str, Tensor] = {task: module.a(x) for task, module in modules.items()}  # pyright: ignore[reportCallIssue]
    for task in ASIDE:
        expected = own[task]
        for other in ("p", *ASIDE):
            if other != task:
                link = f"{other}:a->{task}:a"
                weight = net.gates()[link] * net.link_operations[link]["conv1x1"].get_parameter("weight")
                expected = expected + F.conv2d(own[other], weight[:, :, None, None])
        torch.testing.assert_close(gn.tap_values(net, x)[task, "a"], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("direction", ["q -> r", "r -> q"])
def test_one_direction_by_the_tasks_names(direction: str) -> None:
    source, destination = direction.split(" -> ")
    net = four(INTO, {**AMONG, "direction": direction})
    assert {(link.source.task, link.destination.task) for link in net.links if link.direction == "a2a"} == {(source, destination)}


def test_a_way_into_the_primary_through_another_auxiliary_is_refused() -> None:
    there = {**AMONG, "direction": "q -> r"}
    with pytest.raises(SpecError) as caught:
        four(there, {"direction": "r -> p", "converges_to": "free"})
    assert str(caught.value) == (
        "links[1].converges_to: an auxiliary would reach the primary at inference: r:b -> p:b -> p:head -> p:prediction\n"
        "  fix: converges_to: zero, or constraints: {inference: all}"
    )
    net = four(there, {"direction": "r -> p", "converges_to": "zero"})
    q = [parameter for name, parameter in net.named_parameters() if name.startswith("branches.q.a.")]
    net(IMAGE.double())["p"].sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in q)  # q reaches p through r while it is trained
    pruned = gn.prune(net.float(), force=True)
    assert torch.equal(pruned.module(IMAGE), net.recorded["p"].module(IMAGE))


def test_the_nearest_of_all_auxiliaries() -> None:
    taps = {"s": ["a", "act", "b"]}
    branches = {task: chain(taps=taps) for task in ("p", *ASIDE)}
    net = gn.weave(branches, primary="p", space=space({**INTO, "where": {"max_links_per_tap": 2}}))
    assert [link.id for link in net.links] == ["q:a->p:a", "r:a->p:a", "q:act->p:act", "r:act->p:act", "q:b->p:b", "r:b->p:b"]


# -- in a search's file

SEARCH = """\
kind: search
task_pair: {pair}
networks:
  "*": {{use: resnet-fpn, parameters: {{model: resnet10t, pretrained: false, channels: 32}}}}
  segmentation: {line}
space: aux-nas
training: {{epochs: 1, batch_size: 2, optimizers: {{weights: {{type: adam, lr: 1e-3}}, alphas: {{type: adam, lr: 1e-3}}}}}}
"""


@pytest.mark.parametrize(
    ("line", "taps"),
    [
        ("{use: resnet-fpn, parameters: {model: test_resnet, pretrained: false, channels: 8}}", ("encoder.layer1.0", "encoder.layer4.0")),
        (
            "{use: vit-dpt, parameters: {model: vit_tiny_patch16_224, pretrained: false, channels: 8}}",
            ("encoder.blocks.0", "encoder.blocks.11"),
        ),
        ("{use: small-resnet-fpn}", ("stage1", "stage4")),
    ],
)
def test_a_lighter_auxiliary_in_one_line(line: str, taps: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "search.yaml").write_text(SEARCH.format(pair=QUICKSTART / "task_pair.yaml", line=line))
    spec = gn.load_spec(tmp_path / "search.yaml")
    assert isinstance(spec, SearchSpec)
    net = randomize(build(spec, {"image": Image(3, 48, 64)})).eval()
    found = [tap.name for tap in net.recorded["segmentation"].taps]
    assert (found[0], found[-1]) == taps
    assert {(link.source.task, link.source.tap) for link in net.links} == {
        (task, tap.name) for task, branch in net.recorded.items() for tap in branch.taps
    }
    x = image(2, 3, 48, 64)
    out = net(x)
    assert {task: tuple(value.shape) for task, value in out.items()} == {"normals": (2, 3, 48, 64), "segmentation": (2, 11, 48, 64)}
    pruned = gn.prune(net, force=True)
    assert pruned.certificate.holds
    assert torch.equal(pruned.module.eval()(x), net.recorded["normals"].module.eval()(x))


# -- rules and taps that do not fit


class Pooled(nn.Module):
    """An image, half as large, and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 2, stride=2)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.pool(self.a(image)))


def pooled(**taps: Any) -> gn.Branch:
    return gn.Branch.from_module(Pooled(), taps=taps, example=IMAGE)


SPACE = "kind: search_space\nlinks:\n  - {direction: primary -> auxiliary, operations: [conv1x1], converges_to: free, where: {WHERE}}\n"
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no two taps of one resolution": (
        "same_resolution: true", {"s1": "a"},
        "3:17: links[0].direction: primary -> auxiliary yields no link\n"
        "  fix: same_resolution: false, for links that resize; or taps of equal height and width: "
        "p has s1 at 6x6, s2 at 6x6; q has s1 at 3x3"),
    "no shared stage": (
        "same_resolution: true", {"t1": "a"},
        "3:17: links[0].direction: primary -> auxiliary yields no link\n  fix: stages are matched by name: p has s1, s2; q has t1"),
    "an image to a vector": (
        "same_stage: true", {"s1": "a", "s2": "pool"},
        "3:51: links[0].operations: p:b->q:pool: no link from image[4, 6, 6] to vector[4]\n  fix: link taps of the same kind"),
    "an image to a vector of no resolution": (
        "same_resolution: true", {"s2": "pool"},
        "3:17: links[0].direction: primary -> auxiliary yields no link\n"
        "  fix: same_resolution: false, for links that resize; or taps of equal height and width: "
        "p has s1 at 6x6, s2 at 6x6; q has s2 at none"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_rules_that_fit_no_pair_of_taps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where, taps, expected = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE.replace("WHERE", where))
    with pytest.raises(SpecError) as caught:
        gn.weave({"p": chain(), "q": pooled(**taps)}, primary="p", space=gn.load_spec("space.yaml"))
    assert str(caught.value) == f"space.yaml:{expected}"


def test_taps_without_a_partner_of_their_resolution_are_left_alone() -> None:
    rules = space({**OUT, "where": {"same_resolution": True}}, {**INTO, "where": {"same_stage": False}})
    net = gn.weave(
        {"p": chain(), "q": gn.Branch.from_module(Halved(), taps={"s1": "a", "s2": "b"}, example=IMAGE)}, primary="p", space=rules
    )
    assert [link.id for link in net.links if link.direction == "p2a"] == ["p:a->q:a"]


class Halved(Chain):
    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.b(F.avg_pool2d(self.a(image), 2)))


NETWORK = """\
kind: network
inputs: {image: "image[3, H, W]"}
nodes:
  a: {op: conv2d, out_channels: 4}
  b: {op: conv2d, out_channels: OUT}
outputs: b
taps: {TAPS}
"""


def test_stages_in_an_order_that_would_make_a_cycle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text(NETWORK.replace("OUT", "3").replace("TAPS", "s1: a, s2: b"))
    Path("two.yaml").write_text(NETWORK.replace("OUT", "11").replace("TAPS", "s1: b, s2: a"))
    text = SEARCH.format(pair=QUICKSTART / "task_pair.yaml", line="{use: two.yaml}")
    text = text.replace("{use: resnet-fpn, parameters: {model: resnet10t, pretrained: false, channels: 32}}", "{use: one.yaml}")
    Path("search.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        build(gn.load_spec("search.yaml"), {"image": Image(3, 8, 8)})
    assert str(caught.value) == (
        "two.yaml:7:19: segmentation runs its stages in the order s2, s1, normals in the order s1, s2\n"
        "  fix: give stages of equal names the same order"
    )
