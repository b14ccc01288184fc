"""The recorder: what it must keep, and what it must refuse rather than drop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, fx, nn

import graphnas as gn
from graphnas.errors import RecordError


def recorded(module: nn.Module, taps: dict[str, Any], example: Any, **options: Any) -> gn.Branch:
    return gn.Branch.from_module(module, taps=taps, example=example, **options)


def image(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def conv(inputs: int = 3, outputs: int = 4) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "timm resnet18": (lambda: timm.create_model("resnet18", num_classes=5), {"s1": "layer1.*", "s2": "layer2.*"}),
    "timm vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=3, num_classes=5, pos_drop_rate=0.1, drop_path_rate=0.1),
        {"s": "blocks.*"},
    ),
    "torchvision vgg11_bn": (lambda: torchvision.models.vgg11_bn(num_classes=5), {"s": {"match": "features.*", "class": "Conv2d"}}),
    "torchvision vit": (
        lambda: torchvision.models.VisionTransformer(32, 16, 2, 2, 24, 48, num_classes=5, dropout=0.1),
        {"s": "encoder.layers.*"},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [False, True])
def test_a_recording_is_bitwise_the_module(name: str, training: bool) -> None:
    build, taps = NETWORKS[name]
    module = build()
    branch = recorded(module, taps, image(2, 3, 32, 32))
    replayed = fx.GraphModule(module, branch.recorded).train(training)
    module.train(training)
    other = image(3, 3, 32, 32)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    torch.manual_seed(3)
    expected = module(other)
    changed = {key: value.clone() for key, value in module.state_dict().items()}
    module.load_state_dict(state)
    torch.manual_seed(3)
    assert torch.equal(replayed(other), expected)
    assert all(torch.equal(value, changed[key]) for key, value in module.state_dict().items())


def test_recording_leaves_no_trace() -> None:
    module = timm.create_model("resnet18", num_classes=5).train()
    module.layer1.eval()
    modes = [submodule.training for submodule in module.modules()]
    buffers = {name: (buffer, buffer.clone()) for name, buffer in module.named_buffers()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    recorded(module, {"s": "layer1.*"}, image(2, 3, 32, 32))
    assert torch.equal(torch.rand(3), expected)
    assert [submodule.training for submodule in module.modules()] == modes
    assert all(buffer is buffers[name][0] and torch.equal(buffer, buffers[name][1]) for name, buffer in module.named_buffers())


class Sized(nn.Module):
    """Uses sizes: of the batch, of the image, halves and doubles."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv()
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        y = self.out(self.body(x)).reshape(n, 2, h * w).view(n, 2, h, w)
        return F.interpolate(y, size=(h * 2, round(w / 2)))


def test_sizes_stay_dynamic() -> None:
    module = Sized()
    branch = recorded(module, {"s": "body"}, image(2, 3, 8, 8))
    replayed = fx.GraphModule(module, branch.recorded)
    assert not branch.fixed_size
    for shape in ((1, 3, 8, 8), (5, 3, 6, 10)):
        assert torch.equal(replayed(image(*shape)), module(image(*shape)))


class Baked(Sized):
    def forward(self, x: Tensor) -> Tensor:
        side = int(x.shape[2])
        return F.interpolate(self.out(self.body(x)), size=(side, side))


def test_a_size_that_was_baked_in_is_refused_at_other_sizes() -> None:
    net = gn.weave({"p": recorded(Baked(), {"s": "body"}, image(2, 3, 8, 8))}, primary="p", space=gn.load_spec("single-task"))
    assert net(image(4, 3, 8, 8))["p"].shape == (4, 2, 8, 8)
    with pytest.raises(RecordError) as caught:
        net(image(2, 3, 16, 16))
    assert str(caught.value) == (
        "x is [3, 16, 16], but the network of 'p' computes with a size that is a plain number since it was recorded at [3, 8, 8]\n"
        "  fix: train and evaluate at that size, or leave int(...) around sizes out of the forward"
    )


class Dropped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = conv()

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.body(x), 0.5, self.training)


def test_training_is_read_at_run_time() -> None:
    module = Dropped()
    branch = recorded(module, {"s": "body"}, image(2, 3, 8, 8))
    net = gn.weave({"p": branch}, primary="p", space=gn.load_spec("single-task"))
    x = image(2, 3, 8, 8)
    assert torch.equal(net.eval()(x)["p"], module.eval()(x))
    torch.manual_seed(0)
    expected = module.train()(x)
    torch.manual_seed(0)
    assert torch.equal(net.train()(x)["p"], expected)
    assert not torch.equal(expected, module.eval()(x))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad * 7


class WithFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = conv()

    def forward(self, x: Tensor) -> Tensor:
        return Doubled.apply(self.body(x))  # pyright: ignore[reportReturnType]


def test_a_custom_backward_is_kept() -> None:
    module = WithFunction()
    net = gn.weave({"p": recorded(module, {"s": "body"}, image(2, 3, 8, 8))}, primary="p", space=gn.load_spec("single-task"))
    x = image(2, 3, 8, 8).requires_grad_()
    (expected,) = torch.autograd.grad(module(x).sum(), x)
    (found,) = torch.autograd.grad(net(x)["p"].sum(), x)
    assert torch.equal(found, expected)
    assert torch.allclose(expected, 7 * torch.autograd.grad(module.body(x).sum(), x)[0])


class Branching(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if y.sum() > 0:
            y = y + 1
        return y


class NoGrad(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = x * 2
        return self.body(x)


class Scripted(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(twice(x))


@torch.jit.script
def twice(x: Tensor) -> Tensor:
    return x * 2


class TwoWays(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return y.abs() if self.training else y


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Branching, "Branching: data-dependent Tensor.__bool__() at FILE:LINE in forward: if y.sum() > 0:"),
        (NoGrad, "NoGrad: a no_grad or enable_grad region, which a graph can't hold at FILE:LINE in forward: with torch.no_grad():"),
        (
            Scripted,
            "Scripted: a tensor made by code that can't be recorded (a scripted function, numpy, another thread) at FILE:LINE in forward: "
            "return self.body(twice(x))",
        ),
    ],
)
def test_what_a_graph_cannot_hold_is_refused_at_its_line(kind: type[nn.Module], expected: str) -> None:
    lines = [text.strip() for text in Path(__file__).read_text(encoding="utf-8").splitlines()]
    line = 1 + lines.index(expected.split("in forward: ")[1])
    with pytest.raises(RecordError) as caught:
        recorded(kind(), {"s": "body"}, image(2, 3, 8, 8))
    first, fix = str(caught.value).splitlines()
    assert first == expected.replace("FILE:LINE", f"{__file__}:{line}")
    assert fix.startswith("  fix: ")


def test_two_ways_are_refused() -> None:
    with pytest.raises(RecordError, match="^TwoWays takes another way in train mode than in eval mode: output against call_method abs"):
        recorded(TwoWays(), {"s": "body"}, image(2, 3, 8, 8))


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.blocks = nn.ModuleList([conv(4, 4), conv(4, 4)])
        self.twice = conv(4, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y, side = self.pair(x)
        for block in self.blocks:
            y = block(y)
        y = self.twice(self.twice(y))
        return {"features": y, "logits": y.mean((2, 3)) * side}


class Pair(nn.Module):
    """Returns a tensor and an int."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv()

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return self.body(x), x.shape[2]


def test_outputs_parts_and_ints() -> None:
    module, x = Several(), image(2, 3, 8, 8)
    branch = recorded(module, {"a": {"match": "pair", "output": 0}, "b": "blocks.*"}, x)
    assert [tap.name for tap in branch.taps] == ["pair", "blocks.0", "blocks.1"]
    net = gn.weave({"p": branch}, primary="p", space=gn.load_spec("single-task"))
    other = image(3, 3, 12, 12)
    assert torch.equal(net(other)["p"], module(other)["logits"])
    chosen = recorded(module, {}, x, output="features")
    assert torch.equal(chosen.prediction_of(module(x)), module(x)["features"])


@pytest.mark.parametrize(
    ("taps", "expected"),
    [
        (
            {"s": "pair"},
            "tap 'pair' returns a tuple, not a tensor\n  fix: name one of its parts: {match: pair, output: KEY} with KEY 0 to 1",
        ),
        ({"s": "blocks"}, "taps.s: 'blocks' matches only modules that are never called: blocks\n  fix: tap its parts: blocks.*"),
        ({"s": "twice"}, "taps.s: 'twice' is called 2 times, so the tap is ambiguous\n  fix: tap a submodule that is called once"),
        ({"s": "block.0"}, "taps.s: 'block.0' matches no submodule\n  fix: did you mean 'blocks.0'?"),
        ({"s": {"match": "blocks.*", "split": [1, 2]}}, "taps.s: split [1, 2] is for 3 taps, 2 match\n  fix: numbers that add up to 2"),
        ({"a": "blocks.0", "b": "blocks.*"}, "taps.b: 'blocks.0' is in stage a and in stage b\n  fix: name it once"),
    ],
)
def test_taps_that_are_not_there(taps: dict[str, Any], expected: str) -> None:
    with pytest.raises(RecordError) as caught:
        recorded(Several(), taps, image(2, 3, 8, 8))
    assert str(caught.value) == expected


@dataclass
class Result:
    score: Tensor
    extra: Tensor | None = None


class Structured(Dropped):
    def forward(self, x: Tensor) -> Result:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Result(score=self.body(x))


def test_a_dataclass_comes_back_as_one() -> None:
    module, x = Structured(), image(2, 3, 8, 8)
    net = gn.weave({"p": recorded(module, {"s": "body"}, x)}, primary="p", space=gn.load_spec("single-task"))
    pruned = gn.prune(net)
    assert isinstance(pruned.module(x), Result)
    assert torch.equal(pruned.module(x).score, module(x).score)


def test_hooks_above_the_taps_are_refused() -> None:
    module = Several()
    module.register_forward_hook(lambda *_: None)
    with pytest.raises(RecordError) as caught:
        recorded(module, {"b": "blocks.*"}, image(2, 3, 8, 8))
    assert str(caught.value) == (
        "the module (Several) has hooks, and its forward would be taken apart\n  fix: remove the hooks, or choose taps that are not inside it"
    )


def test_an_input_of_another_name() -> None:
    with pytest.raises(RecordError) as caught:
        recorded(Dropped(), {"s": "body"}, {"y": image(2, 3, 8, 8)})
    assert str(caught.value) == "Dropped.forward takes no argument 'y'\n  fix: one of x"
