"""Taps by name: submodules, values inside them, globs, and what is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, fx, nn

import graphnas as gn
from graphnas.compiler.calls import run_log
from graphnas.compiler.record import record
from graphnas.errors import RecordError, SpecError
from tests.builders import CHAIN_TAPS, IMAGE, INTO, OUT, Chain, chain, conv, image, randomize, space


def recorded(module: nn.Module, taps: Any, x: Tensor = IMAGE, **options: Any) -> gn.Branch:
    return gn.Branch.from_module(module, taps=taps, example=x, **options)


def names(module: nn.Module, x: Tensor) -> list[str]:
    """The values of functions in order, by name."""
    return [call.path for call in run_log(module.eval(), {"x": x}) if call.function]


# -- names


class Named(nn.Module):
    """Every way in which a function may be called."""

    def __init__(self) -> None:
        super().__init__()
        self.sub = nn.Identity()
        self.inner = Inner()

    def forward(self, x: Tensor) -> Tensor:
        n = x.size(0)
        y = x + 1
        y = 1 - y
        y = torch.add(y, y)
        y += 1
        y = y.add_(1) / 2
        y = 2 / y
        y = F.relu(y, inplace=True)
        y.sub(1)
        a, b = y.chunk(2, dim=-1)
        y = torch.cat([a, b], -1)[:n] @ y.mT
        y[:, 0] = 0
        assert y.dim() == 4
        assert y.is_floating_point()
        assert y.shape[0] == n
        return self.inner(self.sub(y)) + self.inner(y)


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.norm(x))


def test_names_of_values() -> None:
    found = names(Named(), IMAGE)
    inner = ["inner.norm.layer_norm", "inner.gelu"]
    assert found == [
        *("add", "sub_1", "add_1", "add_2", "add_3", "div", "div_1", "relu", "sub_2"),  # `self.sub` bears the name `sub` itself
        *("chunk", "cat", "getitem", "mT", "matmul", *inner, *inner, "add_4"),
    ]  # fmt: skip


def test_the_name_of_a_submodule_is_passed_over() -> None:
    module = Named()
    module.add = nn.Identity()
    assert [name for name in names(module, IMAGE) if name.startswith("add")] == ["add_1", "add_2", "add_3", "add_4", "add_5"]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "torchvision resnet18": lambda: torchvision.models.resnet18(num_classes=5),
    "torchvision swin": lambda: torchvision.models.SwinTransformer([4, 4], 12, [2, 2], [1, 2], [4, 4], num_classes=5),
    "timm vit": lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=5),
    "timm densenet": lambda: timm.create_model("densenet121", block_config=(2, 2), growth_rate=8, num_classes=5),
    "timm efficientnet": lambda: timm.create_model("efficientnet_b0", num_classes=5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_recorder_names_values_as_the_log_does(name: str) -> None:
    module, x = NETWORKS[name]().eval(), image(2, 3, 32, 32)
    parents = frozenset(path for path, submodule in module.named_modules() if next(submodule.children(), None) is not None)
    arguments = {next(iter(inspect.signature(module.forward).parameters)): x}
    log = run_log(module, arguments)
    made = [call for call in log if call.function and call.path.rpartition(".")[0] in parents and call.type is not None]
    recording = record(module, arguments, ancestors=parents)
    assert made
    counts = [call.path for call in made]
    for call in made:
        if counts.count(call.path) == 1:
            node = recording.values[call.path]
            assert node.op in ("call_function", "call_method"), call.path
            assert call.path.rpartition(".")[2].rstrip("_0123456789") in str(node.target), (call.path, node.target)


# -- links at values


RESNET = {"s1": "layer1.*.add", "s2": ["layer2.0.add", "layer2.1.bn1"]}


def after_each_sum(module: nn.Module, x: Tensor) -> list[Tensor]:
    """What the blocks of torchvision's resnet18 make before the ReLU that changes it in place."""
    found: list[Tensor] = []
    blocks = [block for layer in (module.layer1, module.layer2) for block in layer]  # pyright: ignore[reportGeneralTypeIssues]
    y = module.maxpool(module.relu(module.bn1(module.conv1(x))))  # pyright: ignore[reportCallIssue]
    for block in blocks:
        shortcut = y if block.downsample is None else block.downsample(y)
        found.append(block.bn2(block.conv2(F.relu(block.bn1(block.conv1(y))))) + shortcut)
        y = F.relu(found[-1])
    return found


def test_links_at_sums_that_are_changed_in_place_later() -> None:
    torch.manual_seed(1)
    modules = {task: torchvision.models.resnet18(num_classes=5).eval() for task in ("p", "q")}
    x = image(2, 3, 32, 32)
    branches = {task: recorded(module, RESNET, x) for task, module in modules.items()}
    assert branches["p"].changed == {"layer1.0.add", "layer1.1.add", "layer2.0.add", "layer2.1.bn1"}
    assert [tap.name for tap in branches["p"].taps] == ["layer1.0.add", "layer1.1.add", "layer2.0.add", "layer2.1.bn1"]
    assert [tap.node for tap in branches["p"].taps] == ["layer1.0.add", "layer1.1.add", "layer2.0.add", "layer2.1.bn1"]
    assert [str(tap.type) for tap in branches["p"].taps] == ["image[64, 8, 8]"] * 2 + ["image[128, 4, 4]"] * 2
    net = gn.weave(branches, primary="p", space=space(OUT)).eval()
    with torch.no_grad():
        expected = after_each_sum(modules["p"], x)
        out, plain = net(x), {task: module(x) for task, module in modules.items()}
        assert torch.equal(out["p"], plain["p"])
        assert torch.equal(out["q"], plain["q"])  # links at zero
        randomize(net)
        taps = gn.tap_values(net, x)
        for name, value in zip(["layer1.0.add", "layer1.1.add", "layer2.0.add"], expected, strict=False):
            assert torch.equal(taps["p", name], value), name
        sent = net.link_operations["p:layer1.0.add->q:layer1.0.add"]["conv1x1"].weight
        gate = net.gates()["p:layer1.0.add->q:layer1.0.add"]
        arrived = F.conv2d(expected[0], (sent * gate)[:, :, None, None])  # pyright: ignore[reportOperatorIssue]
        torch.testing.assert_close(taps["q", "layer1.0.add"], after_each_sum(modules["q"], x)[0] + arrived)
        assert torch.equal(net(x)["p"], plain["p"])


@pytest.mark.parametrize(
    ("build", "taps"),
    [
        (lambda: torchvision.models.resnet18(num_classes=5), RESNET),
        (
            lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=5),
            {"s1": "blocks.*.add", "s2": {"match": "blocks.*.add_1"}},
        ),
    ],
)
def test_the_pruned_network_is_the_module(build: Callable[[], nn.Module], taps: Any) -> None:
    x, module = image(2, 3, 32, 32), build()
    if "s2" in taps and "blocks" in str(taps["s2"]):
        taps = {"s1": ["blocks.0.add", "blocks.0.add_1"], "s2": ["blocks.1.add", "blocks.1.add_1"]}
    net = randomize(gn.weave({"p": recorded(module, taps, x), "q": recorded(build(), taps, x)}, primary="p", space=space(INTO, OUT)).eval())
    assert not torch.equal(net(x)["p"], module.eval()(x))
    pruned = gn.prune(net, force=True)
    assert pruned.certificate.holds
    fresh = build()
    fresh.load_state_dict(pruned.module.state_dict(), strict=True)
    assert list(pruned.module.state_dict()) == list(fresh.state_dict())
    for training in (False, True):
        torch.manual_seed(0)
        expected = fresh.train(training)(x)
        torch.manual_seed(0)
        assert torch.equal(pruned.module.train(training)(x), expected)


@pytest.mark.parametrize("training", [False, True])
def test_training_through_values_that_are_changed_in_place(training: bool) -> None:
    x = image(4, 3, 32, 32)
    branches = {task: recorded(torchvision.models.resnet18(num_classes=5), RESNET, x) for task in ("p", "q")}
    net = randomize(gn.weave(branches, primary="p", space=space(INTO, OUT))).train(training)
    out = net(x)
    (out["p"].mean() + out["q"].mean()).backward()
    assert all(alpha.grad is not None and bool(alpha.grad.abs().sum() > 0) for alpha in net.alphas.values())


class AtRoot(nn.Module):
    """Values of the root itself, under names that a container of modules has too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.values = conv(), conv(4, 4), conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).float()
        return self.b(y.half().float() + y) + self.values(y)


def test_values_of_the_root() -> None:
    modules = {task: AtRoot() for task in ("p", "q")}
    taps = {"s1": ["float", "add"], "s2": ["values", "add_1"]}
    net = gn.weave({task: recorded(module, taps) for task, module in modules.items()}, primary="p", space=space(INTO, OUT))
    assert [(tap.name, tap.node) for tap in net.recorded["p"].taps] == [
        ("float", "float"), ("add", "add"), ("values", "values"), ("add_1", "add_1"),
    ]  # fmt: skip
    randomize(net)
    pruned = gn.prune(net, force=True)
    assert torch.equal(pruned.module(IMAGE), modules["p"](IMAGE))


class Views(nn.Module):
    """A part of a value, which is then changed in place, and the value with it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 4), conv(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        part = y[:, :2]
        part.mul_(3)
        return self.b(y)


class Aliased(Views):
    """The same value under two names, one of which a function changes in place before the other is read."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        whole = y.view(y.shape)
        z = y.relu_()
        whole.mul_(3)
        return self.b(z)


@pytest.mark.parametrize(("module", "tap"), [(Views, "getitem"), (Aliased, "relu")])
def test_a_value_that_another_is_changed_through(module: Callable[[], nn.Module], tap: str) -> None:
    with pytest.raises(RecordError) as caught:
        recorded(module(), {"s": tap})
    assert str(caught.value) == (
        f"tap {tap!r} shares memory with another value, which the network later changes through it: what a link adds there would be lost\n"
        "  fix: tap the value that it is a part of, or one that is made from it"
    )
    assert recorded(module(), {"s": "a"}).changed == {"a"}


# -- globs


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(4, 4), conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv1(x))
        return F.relu(self.conv2(y) + x)


class Blocks(nn.Module):
    """Blocks with sums, a submodule called ``add``, and one whose forward is functions alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv()
        self.blocks = nn.Sequential(Block(), Block(), Block())
        self.last = Adding()
        self.twice = Twice()

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(self.blocks(self.stem(x)))
        return self.twice(self.twice(y))


class Adding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.add = conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.add(x) + x


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).tanh()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("blocks.*", ["blocks.0", "blocks.1", "blocks.2"]),
        ("blocks.*.*", [f"blocks.{i}.conv{j}" for i in range(3) for j in (1, 2)]),  # submodules match, so values do not
        ("blocks.*.add", ["blocks.0.add", "blocks.1.add", "blocks.2.add"]),
        ("blocks.[1-2].relu", ["blocks.1.relu", "blocks.2.relu"]),
        ("blocks.*.relu_?", ["blocks.0.relu_1", "blocks.1.relu_1", "blocks.2.relu_1"]),  # no submodule matches
        ("**.add", ["blocks.0.add", "blocks.1.add", "blocks.2.add", "last.add"]),  # the last is the submodule of that name
        ("**.add_1", ["last.add_1"]),
        ("stem.conv2d", ["stem.conv2d"]),  # inside a layer: by its whole name alone
    ],
)
def test_globs_of_submodules_and_values(pattern: str, expected: list[str]) -> None:
    branch = recorded(Blocks(), {"s": pattern})
    assert [tap.name for tap in branch.taps] == expected
    replayed = fx.GraphModule(branch.module, branch.recorded)
    assert torch.equal(replayed(IMAGE), branch.module(IMAGE))


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = conv(3, 8)
        self.out = conv(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        near, far = self.body(x).chunk(2, dim=1)
        far.relu_()
        return self.out(near * far)


def test_a_part_of_a_value() -> None:
    module = Parts()
    taps = {"s": {"match": "chunk", "output": 1}}
    branch = recorded(module, taps)
    assert [str(tap.type) for tap in branch.taps] == ["image[4, 6, 6]"]
    assert branch.changed == {"chunk"}
    net = randomize(gn.weave({"p": branch, "q": recorded(Parts(), taps)}, primary="p", space=space(OUT)))
    with torch.no_grad():
        assert torch.equal(gn.tap_values(net, IMAGE)["p", "chunk"], module.body(IMAGE)[:, 4:])
        assert torch.equal(net(IMAGE)["p"], module(IMAGE))


class Windows(nn.Module):
    """Holds a scripted module, a module that is never called, and values that links can't read."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.jit.script(nn.Sequential(conv(), nn.ReLU()))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.out = conv(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        windows = y.reshape(-1, 18, 4) * 2
        y = windows.reshape(y.shape).flatten(2).mT
        mixed, _ = self.attention(y, y, y)
        return self.out(mixed.mT.unflatten(2, (6, 6)))


class Helped(nn.Module):
    """Has a classifier beside its way, in train mode alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.out = conv(), conv(4, 4), conv(4, 2)
        self.aux = nn.Sequential(conv(4, 2), nn.ReLU())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.body(self.stem(x).relu())
        found = {"out": self.out(y)}
        return {**found, "aux": self.aux(y * 2)} if self.training else found


@pytest.mark.parametrize(
    ("module", "taps", "expected"),
    [
        *(
            (
                Helped,
                {"s": pattern},
                f"taps.s: '{pattern}' matches only what is called in train mode alone: {found}\n"
                "  fix: tap what it reads in both modes: body",
            )
            for pattern, found in (("aux", "aux"), ("aux.*", "aux.0"), ("aux.1", "aux.1"), ("aux.0.conv2d", "aux.0.conv2d"), ("mul", "mul"))
        ),
        (Blocks, {"s": "blocks.1.ad"}, "taps.s: 'blocks.1.ad' matches no submodule and no value\n  fix: did you mean 'blocks.1.add'?"),
        (Blocks, {"s": "block.*"}, "taps.s: 'block.*' matches no submodule and no value\n  fix: did you mean 'blocks.*'?"),
        (
            Blocks,
            {"s": "blocks.[0-1].ad"},
            "taps.s: 'blocks.[0-1].ad' matches no submodule and no value\n  fix: did you mean 'blocks.[0-1].add'?",
        ),
        (Blocks, {"s": "blocks.1.cnv"}, "taps.s: 'blocks.1.cnv' matches no submodule and no value\n  fix: did you mean 'blocks.1.conv2'?"),
        (
            Blocks,
            {"s": "twice.tanh"},
            "taps.s: 'twice.tanh' is called 2 times, so the tap is ambiguous\n  fix: tap a value of a module that is called once",
        ),
        (
            Blocks,
            {"s": {"match": "blocks.*.add", "class": "Block"}},
            "taps.s: 'blocks.*.add' matches values of functions, which have no class\n  fix: leave class out",
        ),
        (
            Blocks,
            {"s": ["blocks.0", "blocks.0.relu_1"]},
            "taps 'blocks.0.relu_1' and 'blocks.0' are the same value\n  fix: name one of them",
        ),
        (
            Blocks,
            {"s": {"match": "blocks.0.add", "output": 0}},
            "tap 'blocks.0.add' is one tensor, so it has no output 0\n  fix: leave output out",
        ),
        (Parts, {"s": "chunk"}, "tap 'chunk' returns a tuple, not a tensor\n  fix: name one of its parts: {match: chunk, output: 0 | 1}"),
        (
            Parts,
            {"s": {"match": "chunk", "output": 2}},
            "tap 'chunk' has no output 2\n  fix: output: 0 | 1",
        ),
        (
            Windows,
            {"s": "body.0"},
            "taps.s: 'body.0' lies inside 'body', a scripted module, which runs as a whole\n  fix: tap body",
        ),
        (
            Windows,
            {"s": "body.relu"},
            "taps.s: 'body.relu' lies inside 'body', a scripted module, which runs as a whole\n  fix: tap body",
        ),
        (
            Windows,
            {"s": "attention.out_proj"},
            "taps.s: 'attention.out_proj' matches only modules that are never called: attention.out_proj\n"
            "  fix: tap what it is a part of: attention",
        ),
        (Windows, {"s": "mul"}, "tap 'mul': no link can read other[4, 18, 4]\n  fix: tap an image, tokens or a vector"),
    ],
)  # fmt: skip
def test_taps_that_are_not_there(module: Callable[[], nn.Module], taps: dict[str, Any], expected: str) -> None:
    with pytest.raises(RecordError) as caught:
        recorded(module(), taps)
    assert str(caught.value) == expected


def test_a_list_of_modules_offers_its_children() -> None:
    class Listed(Blocks):
        def __init__(self) -> None:
            super().__init__()
            self.rest = nn.ModuleList([conv(4, 4)])

        def forward(self, x: Tensor) -> Tensor:
            return self.rest[0](super().forward(x))

    with pytest.raises(RecordError) as caught:
        recorded(Listed(), {"s": "rest"})
    assert str(caught.value) == "taps.s: 'rest' matches only modules that are never called: rest\n  fix: tap its parts: rest.*"


def test_stages_that_run_the_other_way_round() -> None:
    other = recorded(Chain(), {"s1": "b", "s2": "a"})
    with pytest.raises(SpecError) as caught:
        gn.weave({"p": chain(taps=CHAIN_TAPS), "q": other}, primary="p", space=space(INTO, OUT))
    assert (
        str(caught.value)
        == "q runs its stages in the order s2, s1, p in the order s1, s2\n  fix: give stages of equal names the same order"
    )
