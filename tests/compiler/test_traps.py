"""What goes wrong silently when a network is taken apart: each either works as in the module itself, or is told with what helps."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, fx, nn

import graphnas as gn
from graphnas.errors import RecordError
from tests.builders import INTO, OUT, conv, image, randomize, space

X = image(2, 3, 8, 8)


def alone(module: nn.Module, taps: Any, x: Any = X, **options: Any) -> gn.Supernet:
    branch = gn.Branch.from_module(module, taps=taps, example=x, **options)
    return gn.weave({"p": branch}, primary="p", space=gn.load_spec("single-task"))


def refusal(module: nn.Module, taps: Any, x: Any = X, **options: Any) -> str:
    """What is said, with the place in this file as FILE:LINE of the statement that it shows."""
    with pytest.raises(RecordError) as caught:
        gn.Branch.from_module(module, taps=taps, example=x, **options)
    text = str(caught.value)
    lines = [line.strip() for line in Path(__file__).read_text(encoding="utf-8").splitlines()]
    for number, line in enumerate(lines, 1):
        text = text.replace(f"{__file__}:{number} in", "FILE:LINE in") if line and line in text else text
    return text


class Block(nn.Module):
    """Two convolutions; ``how`` is what a test makes of its forward."""

    def __init__(self, how: Callable[[Block, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.first = conv(4, 4)
        self.second = conv(4, 4)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu()) if self.how is None else self.how(self, x)


class Network(nn.Module):
    def __init__(self, how: Callable[[Block, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.stem = conv()
        self.layer = nn.Sequential(Block(), Block(how))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.stem(x)))


# -- activation checkpointing


def reentrant(block: Block, x: Tensor) -> Tensor:
    return torch.utils.checkpoint.checkpoint(block.first, x, use_reentrant=True)


def not_reentrant(block: Block, x: Tensor) -> Tensor:
    return torch.utils.checkpoint.checkpoint(block.first, x, use_reentrant=False)


@pytest.mark.parametrize("how", [reentrant, not_reentrant])
def test_checkpointing_at_the_recorded_level_is_told(how: Callable[[Block, Tensor], Tensor]) -> None:
    statement = f"return torch.utils.checkpoint.checkpoint(block.first, x, use_reentrant={how is reentrant})"
    assert refusal(Network(how), {"s": "layer.1.first"}) == (
        f"layer.1: activation checkpointing, which a graph can't hold at FILE:LINE in {how.__name__}: "
        f"{statement}\n"
        "  fix: tap 'layer.1' itself, which stays as it is then; or switch it off in the modules above the taps"
    )


@pytest.mark.parametrize("how", [reentrant, not_reentrant])
def test_checkpointing_below_the_recorded_level_goes_on(how: Callable[[Block, Tensor], Tensor]) -> None:
    module = Network(how)
    runs = [0]
    module.get_submodule("layer.1.first").register_forward_pre_hook(lambda *_: runs.__setitem__(0, runs[0] + 1))
    net = alone(module, {"s": "layer.*"}).train()
    runs[0] = 0
    loss = net(X)["p"].square().mean()
    loss.backward()
    assert runs[0] == 2  # once more in the backward pass
    gradients = {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.grad is not None}
    module.zero_grad()
    module(X).square().mean().backward()
    assert gradients.keys() == {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    for name, parameter in module.named_parameters():
        assert parameter.grad is None or torch.equal(gradients[name], parameter.grad)


def test_the_checkpointing_of_timm() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=3)
    model.set_grad_checkpointing(True)  # pyright: ignore[reportCallIssue]
    text = refusal(model, {"s": "blocks.*"}, image(2, 3, 32, 32))
    assert text.startswith("VisionTransformer: activation checkpointing, which a graph can't hold at ")
    assert text.endswith("\n  fix: switch it off: set_grad_checkpointing(False)")
    stages = timm.create_model("convnext_atto", num_classes=3, depths=(1, 1, 1, 1), dims=(4, 4, 8, 8))
    stages.set_grad_checkpointing(True)  # pyright: ignore[reportCallIssue]
    x = image(2, 3, 64, 64)
    assert torch.equal(alone(stages, {"s": "stages.*"}, x).eval()(x)["p"], stages.eval()(x))


class AsksForGradients(Network):
    """Checkpoints only where gradients are recorded, as the models of transformers do."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        if self.training and torch.is_grad_enabled():
            y = torch.utils.checkpoint.checkpoint(self.layer, y, use_reentrant=False)
        else:
            y = self.layer(y)
        return self.head(y)


def test_checkpointing_that_waits_for_gradients_is_told() -> None:
    assert refusal(AsksForGradients(), {"s": "stem"}) == (
        "AsksForGradients: activation checkpointing, which a graph can't hold at FILE:LINE in forward: "
        "y = torch.utils.checkpoint.checkpoint(self.layer, y, use_reentrant=False)\n  fix: switch it off in the modules above the taps"
    )


# -- errors name the nearest tap that works


def looks(block: Block, x: Tensor) -> Tensor:
    y = block.first(x)
    if y.sum() > 100:
        y = y * 2
    return block.second(y)


def swallows(block: Block, x: Tensor) -> Tensor:
    y = block.first(x)
    try:
        y = y / float(y.detach().max())
    except RecordError:
        y = y * 1
    return block.second(y)


def tosses(block: Block, x: Tensor) -> Tensor:
    y = block.first(x)
    return block.second(y * float(torch.rand(()).numpy()))


def trips(block: Block, x: Tensor) -> Tensor:
    y = block.first(x)
    if type(y.shape[0]) is not int:
        raise TypeError("this size is no plain number")
    return block.second(y)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (looks, "layer.1: data-dependent Tensor.__bool__() at FILE:LINE in looks: if y.sum() > 100:"),
        (swallows, "layer.1: data-dependent Tensor.__float__() at FILE:LINE in swallows: y = y / float(y.detach().max())"),
        (tosses, "layer.1: data-dependent Tensor.numpy() at FILE:LINE in tosses: return block.second(y * float(torch.rand(()).numpy()))"),
        (
            trips,
            "layer.1: TypeError while it was recorded (this size is no plain number) at FILE:LINE in trips: "
            'raise TypeError("this size is no plain number")',
        ),
    ],
)
def test_a_fault_in_a_submodule_names_it_as_the_tap(how: Callable[[Block, Tensor], Tensor], expected: str) -> None:
    module = Network(how)
    assert refusal(module, {"s": ["stem", "layer.1.second"]}) == (
        f"{expected}\n"
        "  fix: tap 'layer.1' itself, which stays as it is then; or move the statement into a submodule that has no taps inside"
    )
    net = alone(module, {"s": ["stem", "layer.1"]})  # the tap that was named
    assert torch.equal(net.eval()(X)["p"].isfinite(), torch.ones(2, 2, 8, 8, dtype=torch.bool))


CALLS = [0]


def counts(block: Block, x: Tensor) -> Tensor:
    y = block.second(block.first(x))
    CALLS[0] += 1
    return y * CALLS[0]


def test_a_difference_is_traced_to_its_module() -> None:
    assert refusal(Network(counts), {"s": "layer.1.second"}).splitlines()[1] == (
        "  fix: move what it depends on into a submodule that has no taps inside"
    )  # it differs from itself: no tap would do


def baked(block: Block, x: Tensor) -> Tensor:
    return block.second(block.first(x)) * int(x.shape[0])


def test_a_baked_batch_is_traced_to_its_module() -> None:
    assert refusal(Network(baked), {"s": "layer.1.second"}) == (
        "the recording of Network differs from the module in eval mode with 3 samples: its forward depends on something that a graph can't"
        " hold; it begins in layer.1\n"
        "  fix: tap 'layer.1' itself, which stays as it is then; or move what it depends on into a submodule that has no taps inside"
    )


def test_a_module_that_fails_by_itself() -> None:
    assert refusal(Network(), {"s": "stem"}, image(2, 5, 8, 8)) == (
        "Network itself fails on the example x [2, 5, 8, 8]: RuntimeError: Given groups=1, weight of size [4, 3, 3, 3], "
        "expected input[2, 5, 8, 8] to have 3 channels, but got 5 channels instead at FILE:LINE in forward: "
        "return self.head(self.layer(self.stem(x)))\n  fix: give an example that it takes"
    )


class OneSample(nn.Module):
    """Batch norm on one value a channel, and one sample only."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x).mean((2, 3)).view(1, 4)
        return self.norm(y)


def test_batch_norm_with_a_batch_of_one() -> None:
    assert refusal(OneSample(), {"s": "body"}, image(1, 3, 8, 8)) == (
        "OneSample itself fails in train mode on the example x [1, 3, 8, 8]: ValueError: Expected more than 1 value per channel when "
        "training, got input size torch.Size([1, 4]) at FILE:LINE in forward: return self.norm(y)\n"
        "  fix: give an example that it takes in both modes"
    )
    model = timm.create_model("resnet18", num_classes=3)
    one, two = image(1, 3, 32, 32), image(2, 3, 32, 32)
    net = alone(model, {"s": "layer4.*"}, one)  # as it is, of one sample
    assert torch.equal(net.eval()(one)["p"], model.eval()(one))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        net.train()(one)
    assert torch.equal(net.train()(two)["p"], model.train()(two))


@pytest.mark.parametrize("size", [(33, 50), (47, 31)])
def test_sizes_that_are_no_multiples_of_32(size: tuple[int, int]) -> None:
    model, x = timm.create_model("resnet18", num_classes=3), image(2, 3, *size)
    net = alone(model, {"s": ["layer1.*", "layer4.*"]}, image(2, 3, 64, 64))
    assert torch.equal(net.eval()(x)["p"], model.eval()(x))
    assert torch.equal(alone(model, {"s": "layer2"}, x).eval()(x)["p"], model.eval()(x))
    patches = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=3)
    assert refusal(patches, {"s": "blocks.*"}, x).startswith(
        f"VisionTransformer itself fails on the example x [2, 3, {size[0]}, {size[1]}]: AssertionError: Input height ({size[0]}) "
    )


# -- what is around a module's forward


class Padding(Network):
    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head(F.pad(y, (0, 1)) if y.shape[-1] % 2 else y)


def test_a_choice_by_parity_is_noticed_wherever_the_graph_goes() -> None:
    module = Padding()
    net = alone(module, {"s": "stem"})
    odd = image(2, 3, 8, 9)
    expected = (
        "x is [3, 8, 9], but the network of 'p' computes with a size that is a plain number since it was recorded at [3, 8, 8]\n"
        "  fix: train and evaluate at that size, or leave int(...) around sizes out of the forward"
    )
    for part in (net, net.view(["p"]), gn.prune(net.eval()).module, copy.deepcopy(net)):
        with pytest.raises(RecordError) as caught:
            part(odd)
        assert str(caught.value) == expected


def test_autocast() -> None:
    module = Network()
    net = alone(module, {"s": ["stem", "layer.*.first"]})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = net(X)["p"], module(X)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)


class ReadsType(Network):
    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head(y).to(torch.float64).to(y.dtype)


class FailsUnderAutocast(Network):
    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        if y.dtype != torch.float32:
            raise TypeError("float32 only")
        return self.head(y)


def test_what_autocast_changes() -> None:
    net = alone(ReadsType(), {"s": "stem"})
    assert torch.equal(net(X)["p"], net.get_submodule("branches.p.head")(net.get_submodule("branches.p.stem")(X)))
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(RecordError) as caught:
        net(X)
    assert str(caught.value) == (
        "the network of 'p' computes with a dtype that was read when it was recorded, which autocast changes\n"
        "  fix: train in float32 (runtime: {precision: float32}), or move the statement into a submodule that has no taps inside"
    )
    assert not gn.Branch.from_module(FailsUnderAutocast(), taps={"s": "stem"}, example=X).fixed_precision


def test_hooks_below_the_recorded_level_fire_as_in_the_module() -> None:
    module, events = Network(), list[Any]()
    module.stem.register_forward_pre_hook(lambda _, args: (events.append("pre"), (args[0] * 2,))[1])
    module.stem.register_forward_hook(lambda *_, **__: events.append("forward"), with_kwargs=True)
    module.stem.register_full_backward_hook(lambda _, into, out: events.append(("backward", out[0].clone())))
    module.layer[0].first.register_forward_hook(lambda _, args, out: out + 1)  # pyright: ignore[reportAttributeAccessIssue]
    net = alone(module, {"s": ["stem", "layer.0"]})
    heard: list[list[Any]] = []
    values: list[Tensor] = []
    x = X.clone().requires_grad_()
    for run in (lambda: module(x), lambda: net(x)["p"]):
        events.clear()
        values.append(run())
        values[-1].sum().backward()
        heard.append(list(events))
    assert torch.equal(*values)
    assert heard[0][:2] == heard[1][:2] == ["pre", "forward"]
    assert torch.equal(heard[0][2][1], heard[1][2][1])
    assert len(heard[0]) == len(heard[1]) == 3


@pytest.mark.parametrize("kind", ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"])
def test_hooks_of_every_kind_at_the_recorded_level_are_told(kind: str) -> None:
    module = Network()
    getattr(module.layer[1], f"register_{kind}")(lambda *_: None)
    assert refusal(module, {"s": "layer.1.first"}) == (
        "layer.1 (Block) has hooks, and its forward would be taken apart\n"
        "  fix: tap 'layer.1' itself, which stays as it is then; or remove the hooks"
    )


def test_compiled_and_scripted_modules_are_told() -> None:
    assert refusal(torch.compile(Network(), backend="eager"), {"s": "stem"}) == (  # pyright: ignore[reportArgumentType]
        "the module (OptimizedModule) is compiled by torch.compile, and its forward can't be looked into\n"
        "  fix: give the module itself, and compile what comes out of it"
    )
    assert refusal(nn.DataParallel(Network()), {"s": "module.stem"}) == (
        "the module (DataParallel) is wrapped for several devices, and its forward can't be looked into\n"
        "  fix: give the module inside: .module"
    )


class Passing(nn.Module):
    """A module of the user's own class of call: as in some libraries, something happens around the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv(4, 4)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs) * 2

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Calls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.passing = conv(), Passing()

    def forward(self, x: Tensor) -> Tensor:
        return self.passing(self.stem(x))


@pytest.mark.parametrize("taps", [{"s": "stem"}, {"s": "passing"}, {"s": "passing.body"}])
def test_a_call_of_its_own(taps: Any) -> None:
    module = Calls()
    assert torch.equal(alone(module, taps)(X)["p"], module(X))


class Identities(Network):
    """Changes in place what a module below handed on."""

    def __init__(self) -> None:
        super().__init__()
        self.identity, self.flat = nn.Identity(), nn.Flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        self.identity(y).add_(1)
        self.flat(y).mul_(3)
        first, _ = torch.broadcast_tensors(y, y[:1])
        first[:, 0] = 0
        return self.head(y)


def test_changes_through_what_a_module_hands_on_are_kept() -> None:
    module = Identities()
    net = alone(module, {"s": "stem"})
    expected = module(X)
    assert torch.equal(net(X)["p"], expected)
    assert torch.equal(net.view(["p"])(X)["p"], expected)


# -- shared, tied, lazy, and computed parameters


class Tied(nn.Module):
    """Two heads of one weight, one module by two names, a buffer that is not saved."""

    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv()
        self.enter = nn.Linear(4, 6, bias=False)
        self.leave = nn.Linear(6, 4, bias=False)
        self.again = nn.Linear(4, 6, bias=False)
        self.again.weight = self.enter.weight
        self.alias = self.leave
        self.register_buffer("offset", torch.ones(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).mean((2, 3)) + self.offset
        return self.again(self.alias(self.enter(y)) + self.leave(self.enter(y)))


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    modules = [Tied(), Tied()]
    branches = {task: gn.Branch.from_module(module, taps={"s": "stem"}, example=X) for task, module in zip("pq", modules, strict=True)}
    net = randomize(gn.weave(branches, primary="p", space=space(INTO, OUT)))
    pruned = gn.prune(net.eval(), force=True)
    assert pruned.certificate.holds
    for part, prefix in ((net, "branches.p."), (copy.deepcopy(net), "branches.p."), (pruned.module, "")):
        assert part.get_parameter(f"{prefix}enter.weight") is part.get_parameter(f"{prefix}again.weight")
        assert part.get_submodule(f"{prefix}leave") is part.get_submodule(f"{prefix}alias")
        assert len(list(part.parameters())) == len(list(modules[0].parameters())) or prefix
    gn.save(pruned, tmp_path)
    saved = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert saved.keys() == Tied().state_dict().keys()
    fresh = Tied()
    fresh.load_state_dict(saved, strict=True)
    assert fresh.again.weight is fresh.enter.weight
    assert torch.equal(fresh(X), modules[0](X))


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.LazyConv2d(4, 3, padding=1), nn.LazyBatchNorm2d(), nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.body(x)).mean((2, 3)))


def test_lazy_modules_are_there_after_the_recording() -> None:
    module = Lazy()
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    net = alone(module, {"s": ["body", "norm"]})
    assert torch.equal(torch.rand(2), expected)
    assert module.training
    assert type(module.body) is nn.Conv2d
    pruned = gn.prune(copy.deepcopy(net).eval(), fresh=Lazy())
    assert pruned.certificate.holds
    fresh = Lazy()
    fresh.load_state_dict(pruned.module.state_dict(), strict=True)
    assert torch.equal(fresh.eval()(X), module.eval()(X))


def old_norms() -> list[nn.Module]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return [nn.utils.weight_norm(conv(4, 4)), nn.utils.spectral_norm(conv(4, 4))]


class Computed(nn.Module):
    """Weights that are computed from others, in torch's newer ways and its older ones."""

    def __init__(self) -> None:
        super().__init__()
        ways = nn.utils.parametrizations
        self.stem = conv()
        self.body = nn.Sequential(ways.weight_norm(conv(4, 4)), ways.spectral_norm(conv(4, 4)), *old_norms())
        self.head = ways.orthogonal(nn.Linear(4, 4))
        self.scale = nn.Parameter(torch.ones(4))
        nn.utils.parametrize.register_parametrization(self, "scale", Squared())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3))) * self.scale


class Squared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x


@pytest.mark.parametrize("taps", [{"s": "stem"}, {"s": ["stem", "body.*"]}])
def test_weights_that_are_computed(taps: Any) -> None:
    module = Computed()
    net = alone(module, taps)
    for training in (False, True):
        module.train(training)
        net.train(training)
        state = copy.deepcopy(module.state_dict())
        expected = module(X)
        after = copy.deepcopy(module.state_dict())
        module.load_state_dict(state)
        found = net(X)["p"]
        assert torch.equal(found, expected)
        assert all(torch.equal(value, after[key]) for key, value in module.state_dict().items())
        found.sum().backward()
    pruned = gn.prune(net.eval())
    assert pruned.certificate.holds
    fresh = Computed()
    fresh.load_state_dict(pruned.module.state_dict(), strict=True)
    assert torch.equal(fresh.eval()(X), module.eval()(X))


# -- inputs and outputs


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = conv(), conv(1, 4)

    def forward(self, image: Tensor, *, depth: Tensor, scale: Tensor | None = None) -> dict[str, Any]:
        y = self.left(image) + self.right(depth)
        y = y if scale is None else y * scale[:, None, None, None]
        return {"decoder": {"logits": y.mean(1), "levels": [y, y + 1]}, "extra": (y.amax(), 3)}


@pytest.mark.parametrize(("output", "pick"), [("decoder.logits", 0), ("decoder.levels.1", 1)])
def test_several_inputs_and_outputs_inside_outputs(output: str, pick: int) -> None:
    module = Two()
    given = {"image": X, "depth": image(2, 1, 8, 8), "scale": image(2)}
    branch = gn.Branch.from_module(module, taps={"s": ["left", "right"]}, example=given, output=output)
    net = gn.weave({"p": branch}, primary="p", space=gn.load_spec("single-task"))
    returned = module(**given)
    expected = [returned["decoder"]["logits"], returned["decoder"]["levels"][1]][pick]
    assert torch.equal(net(**given)["p"], expected)
    assert branch.prediction_of(returned) is expected
    pruned = gn.prune(net.eval()).module(**given)
    assert torch.equal(pruned["decoder"]["levels"][0], returned["decoder"]["levels"][0])
    assert torch.equal(pruned["extra"][0], returned["extra"][0])
    assert pruned["extra"][1] == 3
    without = alone(module, {"s": "left"}, {"image": X, "depth": image(2, 1, 8, 8)}, output=output)
    assert without(X, image(2, 1, 8, 8))["p"].shape == expected.shape


def test_an_output_inside_an_output_that_is_not_there() -> None:
    given = {"image": X, "depth": image(2, 1, 8, 8)}
    assert refusal(Two(), {}, given, output="decoder.logit") == (
        "Two has no output 'decoder.logit'; it returns 4 tensors: decoder.logits, decoder.levels.0, decoder.levels.1, extra.0\n"
        "  fix: say which is the prediction: output='decoder.logits'"
    )


@dataclass
class Inner:
    value: Tensor


@dataclass
class Outer:
    inner: Inner
    rest: list[Inner]


class Structures(Network):
    def forward(self, x: Tensor) -> Outer:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = self.stem(x)
        return Outer(Inner(self.head(y)), [Inner(y)])


def test_dataclasses_inside_dataclasses_come_back() -> None:
    module = Structures()
    net = alone(module, {"s": "stem"}, output="inner.value")
    returned = gn.prune(net.eval()).module(X)
    assert isinstance(returned, Outer)
    assert isinstance(returned.rest[0], Inner)
    assert torch.equal(returned.rest[0].value, module(X).rest[0].value)
    assert torch.equal(net(X)["p"], module(X).inner.value)


# -- plain fx would lose these


class Everything(nn.Module):
    """A module that is never called, an in-place result that nothing reads, an isinstance, an optional argument."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.unused, self.head = conv(), conv(), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        assert isinstance(x, Tensor)
        y = self.stem(x)
        y.mul_(2)
        return self.head(y if mask is None else y * mask)


def test_what_a_symbolic_tracer_drops() -> None:
    module = Everything()
    branch = gn.Branch.from_module(module, taps={"s": "stem"}, example=X)
    assert branch.inputs == ("x",)
    assert branch.changed == {"stem"}
    net = gn.weave({"p": branch}, primary="p", space=gn.load_spec("single-task"))
    pruned = gn.prune(net.eval()).module
    assert list(pruned.state_dict()) == list(module.state_dict())
    assert torch.equal(pruned(X), module(X))
    assert isinstance(pruned, fx.GraphModule)
