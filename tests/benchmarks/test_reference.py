"""What graphnas is timed against computes what graphnas computes, and what the authors' code computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import graphnas as gn
from benchmarks.pairs import PAIRS, TASKS, WEIGHTS, as_batch
from benchmarks.reference.losses import both
from benchmarks.reference.search import Supernet
from benchmarks.reference.towers import VisionTransformerTower
from graphnas.spec import SearchSpaceSpec

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"


def randomized(net: gn.Supernet) -> gn.Supernet:
    """Links that do something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for link in net.links:
            weight = weight_of(net, link.id)
            weight.copy_(torch.randn(weight.shape, generator=generator) / weight.shape[1])
            net.alphas[link.id].copy_(torch.randn(net.alphas[link.id].shape, generator=generator))
    return net


def weight_of(net: gn.Supernet, link: str) -> nn.Parameter:
    return net.link_operations[link]["conv1x1"].get_parameter("weight")


def gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def block(tap: str, starts: dict[str, int]) -> int:
    *parents, number = tap.removeprefix("encoder.").split(".")
    return starts[".".join(parents)] + int(number)


def copy_links(net: gn.Supernet, hand: Supernet, starts: dict[str, int]) -> list[tuple[str, nn.Parameter, int, int, slice]]:
    """Give the network by hand the same links; where each one lies in it."""
    found: list[tuple[str, nn.Parameter, int, int, slice]] = []
    with torch.no_grad():
        for link in net.links:
            i, j = block(link.destination.tap, starts), block(link.source.tap, starts)
            into_primary = link.destination.task == "normals"
            alphas, arrivals = (hand.a2p, hand.into_primary) if into_primary else (hand.p2a, hand.into_auxiliary)
            weight = arrivals.get_parameter(f"{i}.conv.weight")
            width, k = len(weight), hand.sources[i].index(j)
            columns = slice(k * width, (k + 1) * width)
            weight[:, columns].copy_(weight_of(net, link.id).reshape(width, width, 1, 1))
            alphas[i, j] = net.alphas[link.id].item()
            found.append((link.id, weight, i, j, columns))
    return found


@pytest.mark.parametrize(
    ("name", "size", "starts"),
    [("vit-tiny-128", 32, {"blocks": 0}), ("resnet18-128", 32, {"layer1": 0, "layer2": 2, "layer3": 4, "layer4": 6})],
)
def test_losses_and_gradients_are_those_of_graphnas(name: str, size: int, starts: dict[str, int]) -> None:
    pair = PAIRS[name]
    pair = replace(pair, size=size, batch=2, encoder={**pair.encoder, **({"img_size": size} if "img_size" in pair.encoder else {})})
    space = gn.load_spec("aux-nas")
    assert isinstance(space, SearchSpaceSpec)
    net, hand = randomized(pair.supernet(space)).double(), pair.by_hand().double()
    places = copy_links(net, hand, starts)
    assert len(places) == len(net.links) > 0
    drawn = pair.batches()[0]
    image, (normals, classes) = drawn[0].double(), drawn[1]
    labels = (F.normalize(normals.double(), dim=1), classes)  # of length one in double precision too

    targets, predictions = as_batch((image, labels)).targets, net(image)
    ours = sum((WEIGHTS[name] * task.loss_value(predictions[name], targets[name]) for name, task in TASKS.items()), net.penalty(0.9))
    first, second = hand(image)
    theirs = both(first, second, labels) + hand.penalty(0.9)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)

    ours.backward()
    theirs.backward()
    into_primary = {link.id: link.destination.task == "normals" for link in net.links}
    for link, weight, i, j, columns in places:
        alphas = gradient(hand.a2p if into_primary[link] else hand.p2a)
        torch.testing.assert_close(gradient(net.alphas[link]).sum(), alphas[i, j], rtol=1e-9, atol=1e-12)
        own = gradient(weight_of(net, link))
        torch.testing.assert_close(own.reshape(len(weight), len(weight), 1, 1), gradient(weight)[:, columns], rtol=1e-9, atol=1e-12)
    ours_by_name = dict(net.get_submodule("branches.normals.encoder").named_parameters())
    compared = [
        (ours_by_name[key], by_hand) for key, by_hand in hand.primary.network["encoder"].named_parameters() if by_hand.grad is not None
    ]
    assert len(compared) > 50
    for woven, by_hand in compared:
        torch.testing.assert_close(gradient(woven), gradient(by_hand), rtol=1e-8, atol=1e-12)


class HeadOfNone(nn.Module):
    """The golden files look at the blocks' values alone."""

    def forward(self, *values: Tensor) -> Tensor:
        return values[-1]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden files lie beside the checkout, and are not there")
@pytest.mark.parametrize("name", ["sigmoid", "sigmoid_a2p_removed"])
def test_golden_values(name: str) -> None:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        meta = json.loads(file.metadata()["golden"])
        data = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    towers = []
    for role in ("primary", "auxiliary"):
        encoder = VisionTransformer(**meta["vit"])
        prefix = f"weight/{role}/"
        encoder.load_state_dict({key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}, strict=False)
        towers.append(VisionTransformerTower(encoder, HeadOfNone()))
    net = Supernet(towers[0], towers[1], [meta["vit"]["embed_dim"]] * meta["vit"]["depth"]).train()
    net.closed = meta["a2p_zeroed"]
    with torch.no_grad():
        net.a2p.copy_(data["alpha/aux_to_primary"])
        net.p2a.copy_(data["alpha/primary_to_aux"])
        for role, arrivals in (("primary", net.into_primary), ("auxiliary", net.into_auxiliary)):
            for i, arrival in enumerate(arrivals):
                weight = arrival.get_parameter("conv.weight")
                weight.copy_(data[f"fusion/{role}/{i}/conv"].reshape(weight.shape))
    values = dict(zip(("primary", "auxiliary"), net.block_values(data["input/image"]), strict=True))
    loss = torch.zeros(())
    for role, found in values.items():
        for i in meta["hooks"]:
            assert error(found[i], data[f"expect/{role}/blocks.{i}"]) <= 1e-5
            loss = loss + (found[i] * data[f"proj/{role}/blocks.{i}"]).mean()
    loss.backward()
    for alphas, key in ((net.a2p, "aux_to_primary"), (net.p2a, "primary_to_aux")):
        if alphas.grad is not None and data[f"grad/alpha/{key}"].any():
            assert error(alphas.grad, data[f"grad/alpha/{key}"]) <= 1e-4


def error(got: Tensor, wanted: Tensor) -> float:
    return float((got.detach() - wanted).abs().max() / wanted.abs().max())
