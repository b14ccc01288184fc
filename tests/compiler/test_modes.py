"""Modules whose way differs in train and eval mode: one graph that is the module in both."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

import graphnas as gn
from graphnas.errors import RecordError
from graphnas.prune import cut_view
from tests.builders import INTO, OUT, conv, image, randomize, space


def branch_of(module: nn.Module, taps: Any, x: Tensor, **options: Any) -> gn.Branch:
    return gn.Branch.from_module(module, taps=taps, example=x, **options)


def alone(branch: gn.Branch) -> gn.Supernet:
    return gn.weave({"p": branch}, primary="p", space=gn.load_spec("single-task"))


def assert_same(module: nn.Module, other: nn.Module, x: Tensor, pick_other: Callable[[Any], Tensor] | None = None) -> None:
    """Bitwise in eval, train, eval and train mode again, with one seed, and so are the buffers that the other has."""
    for training in (False, True, False, True):
        state = copy.deepcopy(module.state_dict())
        torch.manual_seed(3)
        expected = logits(module.train(training)(x))
        after = copy.deepcopy(module.state_dict())
        module.load_state_dict(state)
        torch.manual_seed(3)
        assert torch.equal((pick_other or logits)(other.train(training)(x)), expected)
        found = {key.removeprefix("branches.p."): value for key, value in other.state_dict().items() if not key.startswith("joints.")}
        assert found.keys() <= after.keys()
        assert all(torch.equal(value, after[key]) for key, value in found.items())
        module.load_state_dict(after)


def of_p(returned: Any) -> Tensor:
    return returned["p"]


class Auxiliary(NamedTuple):
    logits: Tensor
    aux: Tensor | None


class Inner(nn.Module):
    """Has a way of its own in train mode, in its middle: with random numbers, a buffer, and in place; what is made there is read later."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = conv(4, 4)
        self.noise = nn.Dropout(0.3)
        self.last = conv(4, 4)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        y = kept = self.first(x)
        if self.training:
            shift = torch.rand(y.shape[0], 1, 1, 1) * self.noise(y).mean((2, 3), keepdim=True)
            self.seen.lerp_(y.detach().mean((0, 2, 3)), 0.1)
            y = y + shift
            y.relu_()
        z = self.last(y)
        z = z * shift + kept if self.training else z.sigmoid()  # pyright: ignore[reportPossiblyUnboundVariable]
        return z * (0.5 if self.training else 2)


class Network(nn.Module):
    """A stem, a module with two ways, and an auxiliary head in train mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(), nn.BatchNorm2d(4))
        self.inner = Inner()
        self.aux = nn.Conv2d(4, 2, 1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor | Auxiliary:
        y = self.stem(x)
        aux = self.aux(y) if self.training else None
        y = self.inner(y)
        logits = self.head(y)
        return Auxiliary(logits, aux) if self.training else logits


TAPS = {"s1": "stem.0", "s2": ["inner.first", "inner.last"], "s3": "inner"}


def logits(returned: Any) -> Tensor:
    return returned if isinstance(returned, Tensor) else returned.logits


@pytest.mark.parametrize("taps", [TAPS, {"s": "inner.last"}, {"s": "inner"}, {"s": "stem.1"}, {}])
def test_a_module_with_two_ways_is_itself_in_both(taps: dict[str, Any]) -> None:
    module, x = Network(), image(3, 3, 8, 8)
    branch = branch_of(module, taps, image(2, 3, 8, 8))
    net = alone(branch)
    assert_same(module, net, x, of_p)
    assert_same(copy.deepcopy(module), copy.deepcopy(net), x, of_p)
    replayed = fx.GraphModule(module, branch.recorded)
    assert isinstance(replayed.train()(x), Auxiliary)
    assert isinstance(replayed.eval()(x), Tensor)


def test_a_module_with_two_ways_is_pruned_to_itself() -> None:
    module, x = Network(), image(3, 3, 8, 8)
    net = gn.weave(
        {"p": branch_of(module, TAPS, image(2, 3, 8, 8)), "q": branch_of(Network(), TAPS, image(2, 3, 8, 8))},
        primary="p",
        space=space(INTO, OUT),
    )
    randomize(net)
    view = cut_view(net)
    assert_same(module, view, x, of_p)
    pruned = gn.prune(net.eval(), force=True)
    assert pruned.certificate.holds
    fresh = Network()
    fresh.load_state_dict(pruned.module.state_dict(), strict=True)
    assert list(fresh.state_dict()) == list(pruned.module.state_dict())
    assert_same(fresh, pruned.module, x)
    returned = pruned.module.train()(x)
    assert isinstance(returned, Auxiliary)
    assert returned.aux is not None
    assert returned.aux.shape == (3, 2, 8, 8)


def test_links_read_and_write_taps_of_two_ways() -> None:
    """A fused value reaches all that reads the tap, in either mode; gradients reach what runs in train mode only."""
    modules = [Network(), Network()]
    branches = {task: branch_of(module, TAPS, image(2, 3, 8, 8)) for task, module in zip("pq", modules, strict=True)}
    net = randomize(gn.weave(branches, primary="p", space=space(INTO, OUT)))
    x = image(2, 3, 8, 8)
    values = gn.tap_values(net.eval(), x)
    assert {key for key in values if key[0] == "p"} == {("p", "stem.0"), ("p", "inner.first"), ("p", "inner.last"), ("p", "inner")}
    assert torch.equal(modules[0].head(values["p", "inner"]), net(x)["p"])
    out = net.train()(x)
    (out["p"].sum() + out["q"].sum()).backward()
    assert all(alpha.grad is not None and bool(alpha.grad.abs().sum() > 0) for alpha in net.alphas.values())


def test_only_one_submodule_in_train_mode() -> None:
    """Each flag is its own module's: a frozen part takes the way of eval mode."""
    module, x = Network(), image(3, 3, 8, 8)
    net = alone(branch_of(module, TAPS, image(2, 3, 8, 8)))
    for train in ((), ("inner",), ("inner", "stem")):
        for part in (module, net):
            part.eval()
        for name in train:
            module.get_submodule(name).train()
            net.get_submodule(f"branches.p.{name}").train()
        state = copy.deepcopy(module.state_dict())
        torch.manual_seed(0)
        expected = module(x)
        module.load_state_dict(state)
        torch.manual_seed(0)
        assert torch.equal(net(x)["p"], expected)


class Deep(nn.Module):
    """Which blocks do something more, and in which mode, is drawn."""

    def __init__(self, plan: list[tuple[str, str]]) -> None:
        super().__init__()
        self.plan = plan
        self.blocks = nn.ModuleList(conv(4 if i else 3, 4) for i in range(len(plan)))
        self.extra = nn.ModuleList(nn.BatchNorm2d(4) for _ in plan)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for (mode, kind), block, extra in zip(self.plan, self.blocks, self.extra, strict=True):
            y = block(values[-1])
            if mode == "both" or self.training == (mode == "train"):
                match kind:
                    case "module":
                        y = extra(y)
                    case "drop":
                        y = F.dropout(y, 0.4, self.training)
                    case "inplace":
                        y.tanh_()
                    case "part":
                        y[:, 0] += 1
                    case "earlier":
                        y = y + values[len(values) // 2].mean()
                    case _:
                        y = torch.cat([y[:, :2], y[:, 2:] * (2 if self.training else 3)], 1)
            values.append(y)
        return values[-1]


PLANS = st.lists(
    st.tuples(
        st.sampled_from(["train", "eval", "both", "none"]), st.sampled_from(["module", "drop", "inplace", "part", "earlier", "other"])
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=15)
@given(PLANS, st.booleans())
def test_any_two_ways_are_one_graph(plan: list[tuple[str, str]], tapped: bool) -> None:
    torch.manual_seed(1)
    module = Deep(plan)
    branch = branch_of(module, {"s": "blocks.*"} if tapped else {}, image(2, 3, 6, 6))
    net = alone(branch)
    assert_same(module, net, image(3, 3, 6, 6), of_p)
    pruned = gn.prune(net.eval())
    assert pruned.certificate.holds
    assert_same(copy.deepcopy(module), pruned.module, image(3, 3, 6, 6))


class Wider(nn.Module):
    """A block whose value is of another shape in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Doubling()

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x).mean(1)


class Doubling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = conv()

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return torch.cat([y, y], 1) if self.training else y


class Hidden(Wider):
    """A block that train mode alone calls, and one that eval mode alone calls."""

    def __init__(self) -> None:
        super().__init__()
        self.other = conv()

    def forward(self, x: Tensor) -> Tensor:
        return (self.block if self.training else self.other)(x)


@pytest.mark.parametrize(
    ("module", "taps", "expected"),
    [
        (
            Wider,
            {"s": ["block", "block.body"]},
            "tap 'block' is image[4, 6, 6] in eval mode and image[8, 6, 6] in train mode\n  fix: tap a value that both modes compute alike",
        ),
        (Hidden, {"s": "other"}, "tap 'other' is computed in eval mode only\n  fix: tap a value that both modes compute alike"),
    ],
)
def test_taps_that_are_not_the_same_in_both_modes(module: type[nn.Module], taps: Any, expected: str) -> None:
    with pytest.raises(RecordError) as caught:
        branch_of(module(), taps, image(2, 3, 6, 6))
    assert str(caught.value) == expected


def googlenet() -> nn.Module:
    return torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False, num_classes=5)


def inception() -> nn.Module:
    return torchvision.models.inception_v3(weights=None, aux_logits=True, init_weights=False, num_classes=5)


@pytest.mark.parametrize(
    ("build", "taps", "size", "keys"),
    [
        pytest.param(googlenet, {"a": "inception4a", "b": "inception5a"}, 64, 364, id="googlenet"),
        pytest.param(inception, {"a": "Mixed_5b", "b": "Mixed_6b"}, 299, 580, id="inception_v3", marks=pytest.mark.nightly),
    ],
)
def test_auxiliary_classifiers_of_torchvision(build: Callable[[], nn.Module], taps: Any, size: int, keys: int) -> None:
    torch.manual_seed(0)
    module, x = build(), image(2, 3, size, size)
    net = alone(branch_of(module, taps, x))
    assert_same(module, net, x, of_p)
    pruned = gn.prune(net.eval())
    assert pruned.certificate.holds
    assert len(pruned.module.state_dict()) == keys
    fresh = build()
    fresh.load_state_dict(pruned.module.state_dict(), strict=True)
    assert type(pruned.module.train()(x)) is type(fresh.train()(x))
    assert_same(fresh, pruned.module, x)
