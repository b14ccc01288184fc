"""The recorder: what it must keep, and what it must refuse rather than drop."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, fx, nn

import graphnas as gn
from graphnas.errors import RecordError
from graphnas.prune import cut_view
from tests.builders import INTO, OUT, conv, image, randomize, space


def recorded(module: nn.Module, taps: dict[str, Any], example: Any, **options: Any) -> gn.Branch:
    return gn.Branch.from_module(module, taps=taps, example=example, **options)


def vgg(batch_norm: bool) -> nn.Module:
    """What torchvision's VGG has in front of its large classifier."""
    return torchvision.models.vgg.make_layers([8, "M", 16, 16, "M"], batch_norm=batch_norm)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "timm resnet18": (lambda: timm.create_model("resnet18", num_classes=5), {"s1": "layer1.*", "s2": "layer2.*"}),
    "timm vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=3, num_classes=5, pos_drop_rate=0.1, drop_path_rate=0.1),
        {"s": "blocks.*"},
    ),
    "timm resnet18, inside a block": (
        lambda: timm.create_model("resnet18", num_classes=5),
        {"s1": "bn1", "s2": ["layer2.0.*", "layer2.1"]},
    ),
    "torchvision resnet18": (lambda: torchvision.models.resnet18(num_classes=5), {"s1": ["bn1", "relu"], "s2": "layer1.*.conv2"}),
    "torchvision vgg": (lambda: vgg(batch_norm=True), {"s": {"match": "*", "class": "Conv2d"}}),
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
    module.get_submodule("layer1").eval()
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
        return Doubled.apply(self.body(x))


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


class EnabledGrad(Dropped):
    @torch.enable_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Autocast(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.body(x)


class AutocastOff(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(device_type="cuda", enabled=False):
            return self.body(x)


class DecoratedAutocast(Dropped):
    @torch.autocast("cpu", dtype=torch.bfloat16)
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Inference(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            y = x * 2
        return self.body(x) + y.mean()


class Itemized(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return y / y.max().item()


class Numbers(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return y * torch.from_numpy(np.ones(4, np.float32)).view(4, 1, 1)


class Scripted(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(twice(x))


@torch.jit.script
def twice(x: Tensor) -> Tensor:
    return x * 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Branching, "Branching: data-dependent Tensor.__bool__() at FILE:LINE in forward: if y.sum() > 0:"),
        (NoGrad, "NoGrad: a no_grad or enable_grad region, which a graph can't hold at FILE:LINE in forward: with torch.no_grad():"),
        (
            EnabledGrad,
            "EnabledGrad: a no_grad or enable_grad region, which a graph can't hold at FILE:LINE in forward: @torch.enable_grad()",
        ),
        (
            Autocast,
            "Autocast: an autocast region, which a graph can't hold at FILE:LINE in forward: "
            'with torch.autocast("cpu", dtype=torch.bfloat16):',
        ),
        (
            AutocastOff,
            "AutocastOff: an autocast region, which a graph can't hold at FILE:LINE in forward: "
            'with torch.autocast(device_type="cuda", enabled=False):',
        ),
        (
            DecoratedAutocast,
            "DecoratedAutocast: an autocast region, which a graph can't hold at FILE:LINE in forward: "
            '@torch.autocast("cpu", dtype=torch.bfloat16)',
        ),
        (Inference, "Inference: an inference_mode region, which a graph can't hold at FILE:LINE in forward: with torch.inference_mode():"),
        (Itemized, "Itemized: data-dependent Tensor.item() at FILE:LINE in forward: return y / y.max().item()"),
        (
            Numbers,
            "Numbers: a tensor made by code that can't be recorded (a scripted function, numpy, another thread) at FILE:LINE in forward: "
            "return y * torch.from_numpy(np.ones(4, np.float32)).view(4, 1, 1)",
        ),
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
            "tap 'pair' returns a tuple, not a tensor\n  fix: name one of its parts: {match: pair, output: 0}",
        ),
        ({"s": "blocks"}, "taps.s: 'blocks' matches only modules that are never called: blocks\n  fix: tap its parts: blocks.*"),
        ({"s": "twice"}, "taps.s: 'twice' is called 2 times, so the tap is ambiguous\n  fix: tap a submodule that is called once"),
        ({"s": "block.0"}, "taps.s: 'block.0' matches no submodule and no value\n  fix: did you mean 'blocks.0'?"),
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
    assert str(caught.value) == ("the module (Several) has hooks, and its forward would be taken apart\n  fix: remove the hooks")


def test_an_input_of_another_name() -> None:
    with pytest.raises(RecordError) as caught:
        recorded(Dropped(), {"s": "body"}, {"y": image(2, 3, 8, 8)})
    assert str(caught.value) == "Dropped.forward takes no argument 'y'\n  fix: one of x"


def woven_alone(module: nn.Module, taps: Any, x: Any, **options: Any) -> gn.Supernet:
    return gn.weave({"p": recorded(module, taps, x, **options)}, primary="p", space=gn.load_spec("single-task"))


# -- what is done in place


class InPlace(Dropped):
    """Changes a value as a whole, a part of it through a view, another by assignment."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y.relu_()
        y[:, 0].add_(1)
        y[:, 1] = 0
        y += 1
        y.permute(0, 2, 3, 1)[..., 2].mul_(2)
        return y.mean(1)


def test_changes_in_place_are_kept_wherever_the_graph_goes() -> None:
    module, x = InPlace(), image(2, 3, 8, 8)
    with torch.no_grad():
        expected, tapped = module(x), module.body(x)
    branch = recorded(module, {"s": "body"}, x)
    assert branch.changed == {"body"}
    net = randomize(gn.weave({"p": branch, "q": recorded(InPlace(), {"s": "body"}, x)}, primary="p", space=space(OUT)))
    assert torch.equal(net(x)["p"], expected)
    assert torch.equal(net.view(["p"])(x)["p"], expected)
    assert torch.equal(cut_view(net)(x)["p"], expected)
    assert torch.equal(gn.prune(net).module(x), expected)
    assert torch.equal(gn.tap_values(net, x)["p", "body"], tapped)
    sent = net.link_operations["p:body->q:body"]["conv1x1"].weight * net.gates()["p:body->q:body"]  # pyright: ignore[reportOperatorIssue]
    arrived = F.conv2d(tapped, sent[:, :, None, None])
    torch.testing.assert_close(gn.tap_values(net, x)["q", "body"], net.get_submodule("branches.q.body")(x) + arrived)


@pytest.mark.parametrize("fusion", [{}, {"activation": "relu"}, {"activation": "silu", "on": "links"}, {"combine": "mix"}])
def test_values_changed_in_place_can_be_trained(fusion: dict[str, Any]) -> None:
    def taps() -> gn.Branch:
        return recorded(vgg(batch_norm=True), {"s": ["0", "1", "2", "5"]}, image(2, 3, 32, 32))

    net = randomize(
        gn.weave({"p": taps(), "q": taps()}, primary="p", space=space(INTO, OUT, fusion=fusion, constraints={"inference": "all"}))
    )
    out = net.train()(image(2, 3, 32, 32))
    (out["p"].mean() + out["q"].mean()).backward()
    assert all(alpha.grad is not None for alpha in net.alphas.values())


# -- state


class Counting(Dropped):
    runs: Tensor
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(4))
        self.scale = nn.Parameter(torch.full((4, 1, 1), 2.0))
        self.plain = torch.ones(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        self.runs += 1
        self.mean.lerp_(y.detach().mean((0, 2, 3)), 0.1)
        return y * self.scale + self.plain


def test_buffers_that_the_forward_itself_updates() -> None:
    module, x = Counting(), image(2, 3, 8, 8)
    net = woven_alone(module, {"s": "body"}, x)
    assert int(module.runs) == 0
    first = net(x)["p"]
    assert (int(module.runs), int(net.state_dict()["branches.p.runs"])) == (1, 1)
    mean = module.mean.clone()
    module.mean.zero_()
    assert torch.equal(module(x), first)
    assert torch.equal(module.mean, mean)
    pruned = gn.prune(net).module
    assert torch.equal(pruned(x), first)
    assert int(module.runs) == 2
    assert list(pruned.state_dict()) == list(module.state_dict())


class Reassigning(Counting):
    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        self.mean = 0.9 * self.mean + 0.1 * y.mean((0, 2, 3))
        return y


def test_a_buffer_that_is_reassigned_is_refused() -> None:
    with pytest.raises(RecordError) as caught:
        recorded(Reassigning(), {"s": "body"}, image(2, 3, 8, 8))
    assert str(caught.value) == (
        "Reassigning assigns a new tensor to its buffer 'mean', which a graph can't hold\n  fix: change it in place: self.mean.copy_(...)"
    )


class Tossing(Dropped):
    """Throws a coin that is not torch's."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return y * 2 if random.random() < 0.5 else y


class TossingPart(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * random.random() + float(np.random.rand())


class TossingBelow(Dropped):
    def __init__(self) -> None:
        super().__init__()
        self.toss = TossingPart()

    def forward(self, x: Tensor) -> Tensor:
        return self.toss(self.body(x))


def test_random_numbers_of_python() -> None:
    x = image(2, 3, 8, 8)
    with pytest.raises(RecordError) as caught:
        recorded(Tossing(), {"s": "body"}, x)
    assert str(caught.value) == (
        "the recording of Tossing differs from the module in train mode with 3 samples: its forward depends on something that a graph "
        "can't hold\n  fix: move what it depends on into a submodule that has no taps inside"
    )
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), float(np.random.rand())
    random.seed(5)
    np.random.seed(5)
    net = woven_alone(TossingBelow(), {"s": "body"}, x)
    assert (random.random(), float(np.random.rand())) == expected
    assert not torch.equal(net(x)["p"], net(x)["p"])


# -- sizes


class Square(Dropped):
    """Pads to a square: which side is longer is decided in Python."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        side = max(height, width)
        return F.pad(self.body(x), (0, side - width, 0, side - height))


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 8, 24), (2, 3, 24, 8), (2, 3, 16, 48), (2, 3, 48, 16)])
def test_a_choice_by_size_is_noticed(shape: tuple[int, ...]) -> None:
    assert recorded(Square(), {"s": "body"}, image(*shape)).fixed_size


class Arithmetic(Dropped):
    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = self.body(x).shape
        odd = (h * w) % 5 + (h // 2) - w // 3 + 2**1 + abs(-n) + int(c == 4)
        frame = torch.zeros(n, c, h + odd, round(w * 1.5), dtype=x.dtype, device=x.device)
        frame[..., :h, :w] = self.body.bias.view(-1, 1, 1)  # pyright: ignore[reportOptionalMemberAccess]
        return frame + self.last(x).size(-1) / 2

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.AdaptiveAvgPool2d((None, 1))


def test_arithmetic_with_sizes() -> None:
    module = Arithmetic()
    branch = recorded(module, {"s": "last"}, image(2, 3, 8, 8))
    assert not branch.fixed_size
    replayed = fx.GraphModule(module, branch.recorded)
    for shape in ((1, 3, 8, 8), (4, 3, 11, 6), (2, 3, 5, 30)):
        assert torch.equal(replayed(image(*shape)), module(image(*shape)))


# -- how modules are called and what they return


class Calls(nn.Module):
    """A module under two names, a sliced Sequential, keyword arguments, an optional argument, values of plain functions."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(), nn.ReLU(inplace=True), conv(4, 4), nn.ReLU(inplace=True))
        self.shared = conv(4, 4)
        self.alias = self.shared
        self.scaled = Scaled()
        self.classifier = nn.Linear(4, 2)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
        x = self.features[:2](x)
        for module in self.features[2:]:
            x = module(x)
        x = self.alias(self.shared(x))
        x = self.scaled(x, by=scale, parts={"shift": x.mean((2, 3), keepdim=True)})
        if mask is not None:
            x = x.masked_fill(mask[:, None], 0)
        return self.classifier(x.mean((2, 3)))


class Scaled(nn.Module):
    def forward(self, x: Tensor, *, by: float, parts: dict[str, Tensor]) -> Tensor:
        return x * by + parts["shift"]


def test_ways_of_calling() -> None:
    module, x = Calls(), image(2, 3, 8, 8)
    net = woven_alone(module, {"s": ["features.0", "features.2"]}, x)
    other = image(3, 3, 10, 8)
    assert torch.equal(net(other)["p"], module(other))
    pruned = gn.prune(net)
    assert pruned.certificate.holds
    fresh = Calls()
    fresh.load_state_dict(pruned.module.state_dict(), strict=True)
    assert torch.equal(fresh(other), module(other))


def test_several_inputs_by_name() -> None:
    module, x = Calls(), image(2, 3, 8, 8)
    mask = image(2, 8, 8) > 0.5
    net = woven_alone(module, {"s": "features.0"}, {"x": x, "mask": mask})
    assert torch.equal(net(x=x, mask=mask)["p"], module(x, mask))
    assert torch.equal(net(x, mask)["p"], module(x, mask))
    assert not torch.equal(module(x, mask), module(x))
    assert torch.equal(gn.prune(net).module(mask=mask, x=x), module(x, mask))


class Point(NamedTuple):
    near: Tensor
    far: list[Tensor]


class Nested(Dropped):
    def forward(self, x: Tensor) -> Point:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = self.body(x)
        return Point(y.mean(1), [y, y + 1])


def test_a_named_tuple_comes_back_as_one() -> None:
    module, x = Nested(), image(2, 3, 8, 8)
    returned = gn.prune(woven_alone(module, {"s": "body"}, x, output=0)).module(x)
    assert isinstance(returned, Point)
    assert torch.equal(returned.near, module(x).near)
    assert torch.equal(returned.far[1], module(x).far[1])


class TwoOutputs(Dropped):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = self.body(x)
        return y, y.mean(1)


class VarArgs(Dropped):
    def forward(self, *xs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.body(xs[0])


class Nothing(Dropped):
    def forward(self) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.zeros(1)


@pytest.mark.parametrize(
    ("module", "options", "expected"),
    [
        (TwoOutputs, {}, "TwoOutputs returns 2 tensors: 0, 1\n  fix: say which is the prediction: output=0"),
        (TwoOutputs, {"output": 2}, "TwoOutputs has no output 2; it returns 2 tensors: 0, 1\n  fix: say which is the prediction: output=0"),
        (
            Several,
            {"output": "logit"},
            "Several has no output 'logit'; it returns 2 tensors: features, logits\n"
            "  fix: say which is the prediction: output='features'",
        ),
        (VarArgs, {}, "VarArgs.forward takes its inputs without names, as *xs\n  fix: give its inputs names: def forward(self, image)"),
        (Nothing, {}, "Nothing.forward takes no argument\n  fix: give it an input"),
    ],
)  # fmt: skip
def test_inputs_and_outputs_that_are_not_clear(module: type[nn.Module], options: dict[str, Any], expected: str) -> None:
    with pytest.raises(RecordError) as caught:
        recorded(module(), {}, image(2, 3, 8, 8), **options)
    assert str(caught.value) == expected


def test_a_part_that_nothing_reads_is_no_tap() -> None:
    with pytest.raises(RecordError) as caught:
        recorded(Several(), {"s": {"match": "pair", "output": 5}}, image(2, 3, 8, 8))
    assert str(caught.value) == "tap 'pair' has no output 5\n  fix: output: 0"


def test_all_that_is_wrong_with_taps_is_said_at_once() -> None:
    with pytest.raises(RecordError) as caught:
        recorded(Several(), {"a": "twicee", "b": "blocks", "c": {"match": "blocks.*", "class": "Linear"}}, image(2, 3, 8, 8))
    assert str(caught.value) == (
        "taps.a: 'twicee' matches no submodule and no value\n  fix: did you mean 'twice'?\n"
        "taps.b: 'blocks' matches only modules that are never called: blocks\n  fix: tap its parts: blocks.*\n"
        "taps.c: 'blocks.*' matches no submodule of class Linear\n  fix: one of Conv2d"
    )


# -- the networks of the libraries, woven


@pytest.mark.parametrize("name", NETWORKS)
def test_links_at_zero_change_nothing(name: str) -> None:
    build, taps = NETWORKS[name]
    torch.manual_seed(2)
    modules = {"p": build(), "q": build()}
    x = image(2, 3, 32, 32)
    net = gn.weave({task: recorded(module, taps, x) for task, module in modules.items()}, primary="p", space=gn.load_spec("aux-nas"))
    assert net.links
    for training in (False, True):
        if training and "vit" in name:
            continue  # dropout of two branches draws in another order
        state = {task: copy.deepcopy(module.state_dict()) for task, module in modules.items()}
        torch.manual_seed(0)
        out = net.train(training)(x)
        after = {task: copy.deepcopy(module.state_dict()) for task, module in modules.items()}
        for task, module in modules.items():
            module.load_state_dict(state[task])
            torch.manual_seed(0)
            if training and any(isinstance(part, nn.Dropout) for part in module.modules()):
                continue
            assert torch.equal(out[task], module.train(training)(x))
            assert all(torch.equal(value, after[task][key]) for key, value in module.state_dict().items())
    randomize(net)
    pruned = gn.prune(net.eval(), force=True)
    assert pruned.certificate.holds
    assert list(pruned.module.state_dict()) == list(build().state_dict())
    assert torch.equal(pruned.module(x), modules["p"].eval()(x))
