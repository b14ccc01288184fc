"""Large images: what is recorded of a part of them is what is recorded of the whole, or the whole is recorded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler import infer, lower, verify
from graphnas.compiler.build import spec_branch
from graphnas.compiler.macs import count_macs
from graphnas.compiler.meta import changed_inputs, shared_inputs, type_of
from graphnas.compiler.parts import Example, logged
from graphnas.graph.text import format_graph
from graphnas.graph.types import Image
from graphnas.spec.network import NetworkSpec

SIZE = (192, 176)
X = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
TAPS = {"s": ["a", "b"]}


@pytest.fixture(params=[True, False], ids=["parts", "whole"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether parts may be used."""
    if not request.param:
        never(monkeypatch)
    return request.param


def never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_SIDE", 1000)


def facts(branch: gn.Branch) -> dict[str, Any]:
    return {
        "graph": format_graph(branch.graph),
        "shape": verify.shape_of(branch.recorded),
        "nodes": [
            (node.name, type_of(node), [n.name for n in changed_inputs(node)], [n.name for n in shared_inputs(node)])
            for node in branch.recorded.nodes
        ],
        "taps": branch.taps,
        "changed": branch.changed,
        "fixed": (branch.fixed_size, branch.fixed_precision),
        "macs": branch.macs,
    }


def example(module: nn.Module) -> Example:
    return logged(module, {"x": X})[1]


def spelled_out() -> gn.Branch:
    spec = gn.load_spec("small-resnet-fpn", kind="network").bind({"out_channels": 3})
    assert isinstance(spec, NetworkSpec)
    graph = infer(spec, {"image": Image(3, *SIZE)})
    torch.manual_seed(0)
    return spec_branch(spec, graph, lower(spec, graph))


def of_resnet() -> gn.Branch:
    torch.manual_seed(0)
    return gn.Branch.from_module(timm.create_model("resnet10t", num_classes=4), example=X)


def of_vit() -> gn.Branch:
    """A position embedding that is resized, attention, and dropped paths in train mode."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"embed_dim": 24, "depth": 3, "num_heads": 2, "dynamic_img_size": True, "drop_path_rate": 0.2}
    return gn.Branch.from_module(timm.create_model("vit_tiny_patch16_224", num_classes=4, **options), taps={"s": "blocks.*"}, example=X)


@pytest.mark.parametrize("make", [spelled_out, of_resnet, of_vit])
def test_the_recording_is_that_of_the_whole(make: Callable[[], gn.Branch], monkeypatch: pytest.MonkeyPatch) -> None:
    found = make()
    assert logged(found.module, found.example)[1].part is not None
    never(monkeypatch)
    assert facts(found) == facts(make())


class Net(nn.Module):
    """Two convolutions with a tap each, and something between them."""

    def __init__(self, between: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(3, 4, 3, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(self.norm(self.a(x))))


def by_size(x: Tensor) -> Tensor:
    return F.gelu(x) if x.shape[2] == 48 else F.relu(x)


def number(x: Tensor) -> Tensor:
    return x * float(f"{x.shape[2]}")


def strips(x: Tensor) -> Tensor:
    return torch.cat([F.relu(strip) for strip in x.split(16, dim=2)], dim=2)


def same_calls(x: Tensor) -> Tensor:
    """The same nodes at any size: only the values tell."""
    return F.leaky_relu(x, 0.1 if "48" in str(list(map(int, x.shape))) else 0.2)


@pytest.mark.parametrize("between", [by_size, number, strips, same_calls])
def test_another_way_at_another_size(between: Callable[[Tensor], Tensor], parts: bool) -> None:
    module = Net(between)
    branch = gn.Branch.from_module(module, taps=TAPS, example=X)
    assert branch.fixed_size
    net = gn.weave({"t": branch}, primary="t", space=gn.load_spec("single-task"))
    for mode in (False, True):
        torch.testing.assert_close(net.train(mode)(X)["t"], module.train(mode)(X), rtol=0, atol=0)
    with pytest.raises(gn.RecordError):
        net(X[:, :, :96])


class Asks(nn.Module):
    """Asks for a value."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.detach().sum()) > 0 else -x


@functools.lru_cache
def ramp(width: int, device: torch.device) -> Tensor:
    return torch.arange(width, dtype=torch.float32, device=device)


class Keeps(nn.Module):
    """Keeps what it computed, as position embeddings do, in itself and in a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[int, ...], Tensor] = {}
        self.last = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape) not in self.kept:
            self.kept[tuple(x.shape)] = self.last = torch.linspace(0, 1, x.shape[3], device=x.device)
        return x + self.kept[tuple(x.shape)] + self.last.mean() + ramp(x.shape[3], x.device)


class Fixed(nn.Module):
    """Takes one size alone."""

    def forward(self, x: Tensor) -> Tensor:
        assert tuple(x.shape[2:]) == (48, 44)
        return F.relu(x)


@pytest.mark.parametrize(("kind", "partly"), [(Asks, False), (Keeps, True), (Fixed, False), (nn.Identity, True)])
def test_what_needs_values_or_one_size_gets_them(kind: type[nn.Module], partly: bool) -> None:
    module = Net(kind())
    assert (example(module).part is not None) is partly
    branch = gn.Branch.from_module(module, taps=TAPS, example=X)
    assert not branch.fixed_size
    net = gn.weave({"t": branch}, primary="t", space=gn.load_spec("single-task"))
    for mode in (False, True):
        found = net.train(mode)(X)["t"]
        assert found.device.type == "cpu"
        torch.testing.assert_close(found, module.train(mode)(X), rtol=0, atol=0)


def test_the_module_is_left_as_it_was() -> None:
    module = Net(Keeps()).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    gn.Branch.from_module(module, taps=TAPS, example=X)
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(value.device.type == "cpu" for value in module.state_dict().values())
    assert all(submodule.training for submodule in module.modules())


def baked_batch(x: Tensor) -> Tensor:
    return x * float(f"{x.shape[0]}")


class Chance:
    """Another factor each time that it is asked, whatever the seed."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.times += 1
        return x * self.times


@pytest.mark.parametrize("between", [baked_batch, Chance])
def test_a_wrong_recording_is_refused(between: Any, parts: bool) -> None:
    made = between() if isinstance(between, type) else between
    with pytest.raises(gn.RecordError) as caught:
        gn.Branch.from_module(Net(made), taps=TAPS, example=X)
    assert "the recording of Net differs from the module in eval mode with" in str(caught.value)


def test_macs_are_those_of_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 2, "dynamic_img_size": True}
    modules = [Net(), Net(Asks()), Net(Fixed()), timm.create_model("vit_tiny_patch16_224", num_classes=4, **options).eval()]
    found = [count_macs(module, {"x": X}) for module in modules]
    never(monkeypatch)
    assert found == [count_macs(module, {"x": X}) for module in modules]
    assert all(parameter.requires_grad and parameter.device.type == "cpu" for module in modules for parameter in module.parameters())
