"""What a batch does not need is left out: exactly what, and that nothing else changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler.meta import origin_of
from graphnas.data import Batch
from graphnas.prune import links_to_cut, run_without
from graphnas.registry import balances
from graphnas.search.balance import Setting
from graphnas.search.evaluation import score
from graphnas.search.parts import Parts
from graphnas.search.precision import Precision
from graphnas.search.step import Learner, alternate_step, joint_step
from graphnas.search.traces import traces
from tests.builders import INTO, OUT, conv, image, randomize, space

X = image(4, 3, 6, 6)
CPU = torch.device("cpu")


class Net(nn.Module):
    """Two taps, and a head that may keep running statistics or draw at random."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self.a, self.b = conv(), conv(4, 4)
        self.middle: nn.Module = {"plain": nn.Tanh, "norm": lambda: nn.BatchNorm2d(4), "drop": lambda: nn.Dropout(0.5)}[head]()
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.middle(self.b(self.a(image).tanh()).tanh()))


def make(head: str = "plain", **options: Any) -> gn.Supernet:
    torch.manual_seed(0)
    branches = {task: gn.Branch.from_module(Net(head), taps={"s1": "a", "s2": "b"}, example=X) for task in ("p", "q", "r")}
    into = {**INTO, "gate": {"function": "projected01", "initial": 0.5}, **options}
    return randomize(gn.weave(branches, primary="p", space=space(into, OUT))).double().train()


class Square:
    """A task type as far as a step needs one."""

    def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction.double() - target).square().mean()


def plain_learner(net: gn.Supernet, parts: Parts | None, *, balance: str = "sum", weight: Any = 3, **options: Any) -> Learner:
    """Plain descent on all weights and alphas; ``weight`` is that of task ``q``."""
    chosen = balances.get(balance).model_validate({"type": balance, "weights": {"q": weight}})
    return Learner(
        network=net,
        tasks={task: Square() for task in net.tasks},  # pyright: ignore[reportArgumentType]
        balance=chosen.start(Setting("p", net.tasks)),
        weights=torch.optim.SGD(net.weight_parameters(), lr=1e-3),
        alphas=torch.optim.SGD(net.alpha_parameters(), lr=1e-3),
        precision=Precision(CPU),
        parts=parts,
        **options,
    )


def learner_of(net: gn.Supernet, leave_out: Any, **options: Any) -> Learner:
    return plain_learner(net, None if leave_out == "never" else Parts(net, leave_out, CPU), **options)


def batch(*tasks: str) -> Batch:
    targets = {task: torch.full((3, 2, 6, 6), 0.5, dtype=torch.float64) for task in tasks}
    return Batch({"image": X.double()}, targets, {task: torch.tensor([0, 1, 3]) for task in tasks}, ("a", "b", "c", "d"))


def running(part: nn.Module) -> set[str | None]:
    """The tasks one of whose modules runs."""
    assert isinstance(part, torch.fx.GraphModule)
    origins = (origin_of(node) for node in part.graph.nodes if node.op == "call_module")
    return {origin.task for origin in origins if origin is not None}


@pytest.mark.parametrize(("head", "found"), [("plain", []), ("norm", ["middle"]), ("drop", ["middle"])])
def test_what_leaves_a_trace(head: str, found: list[str]) -> None:
    net = make(head)
    before, generator = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    left = traces(net, {"image": X.double()}, CPU)
    assert (bool(left.changing), bool(left.drawing)) == (head == "norm", head == "drop")
    named = [origin_of(node) for node in net.graph.nodes if node.name in left.drawing | left.changing]
    names = {origin.recorded for origin in named if origin is not None}
    assert sorted(name for name in names if name is not None) == found
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("head", ["plain", "norm", "drop"])
@pytest.mark.parametrize("freeze", [False, True])
def test_exact_leaves_out_what_changes_nothing(head: str, freeze: bool) -> None:
    """Three alternations on batches in which other tasks have labels, in float64."""
    nets, losses = {}, {}
    for leave_out in ("never", "exact"):
        net = nets[leave_out] = make(head)
        learner = learner_of(net, leave_out, freeze_batch_norm=freeze)
        torch.manual_seed(1)
        steps = [(batch("p"), batch("q")), (batch("q", "r"), batch("p", "r")), (batch("r"), batch())]
        losses[leave_out] = [alternate_step(learner, first, second, 0.5) for first, second in steps]
        losses[leave_out].append({"drawn": float(torch.rand(()))})
    assert losses["exact"] == losses["never"]
    state = nets["never"].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in nets["exact"].state_dict().items())


@pytest.mark.parametrize(
    ("leave_out", "head", "expected"),
    [("exact", "plain", {"p", "q"}), ("exact", "norm", {"p", "q", "r"}), ("always", "norm", {"p", "q"})],
)
def test_what_runs_for_a_batch_without_labels_of_a_task(leave_out: Any, head: str, expected: set[str]) -> None:
    """q needs p, which feeds it; r, which feeds p, is needed up to its last link, and runs to its end where a norm watches."""
    net = make(head)
    run_without(net, [link.id for link in links_to_cut(net)])
    part = Parts(net, leave_out, CPU).network({"q"}, {"image": X.double()}, statistics=True)
    assert running(part) == expected


def test_always_updates_no_statistics_of_what_is_left_out() -> None:
    net = make("norm")
    run_without(net, [link.id for link in links_to_cut(net)])
    joint_step(learner_of(net, "always"), batch("p", "q"), 0.5)
    assert [int(net.get_buffer(f"branches.{task}.middle.num_batches_tracked")) for task in net.tasks] == [1, 1, 0]
    joint_step(learner_of(net, "exact"), batch("p", "q"), 0.5)
    assert [int(net.get_buffer(f"branches.{task}.middle.num_batches_tracked")) for task in net.tasks] == [2, 2, 1]


def test_a_batch_with_all_labels_runs_the_supernet_itself() -> None:
    net = make()
    assert Parts(net, "exact", CPU).network(net.tasks, {"image": X.double()}, statistics=True) is net


def test_alphas_reach_what_the_graph_says() -> None:
    net = make()
    parts = Parts(net, "exact", CPU)
    assert parts.reached_by_alphas() == {"p", "q", "r"}
    run_without(net, [link.id for link in links_to_cut(net)])
    assert parts.reached_by_alphas() == {"q", "r"}
    alone = gn.weave({"p": gn.Branch.from_module(Net("plain"), taps={"s1": "a"}, example=X)}, primary="p", space=space())
    assert Parts(alone, "exact", CPU).reached_by_alphas() == set()


def test_once_no_link_leads_into_the_primary_the_alpha_half_leaves_its_loss_out() -> None:
    net = make()
    run_without(net, [link.id for link in links_to_cut(net)])
    other = copy.deepcopy(net)
    asked: list[str] = []

    class Watched(Square):
        def loss_value(self, prediction: Tensor, target: Tensor) -> Tensor:
            asked.append("p")
            return super().loss_value(prediction, target)

    learner = learner_of(net, "exact")
    learner.tasks["p"] = Watched()  # pyright: ignore[reportIndexIssue]
    alternate_step(learner, batch("p", "q", "r"), batch("p", "q", "r"), 0.5)
    assert asked == ["p"]
    alternate_step(learner_of(other, "never"), batch("p", "q", "r"), batch("p", "q", "r"), 0.5)
    state = other.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_evaluation_runs_no_branch_without_labels() -> None:
    net = make()
    run_without(net, [link.id for link in links_to_cut(net)])
    seen: list[str] = []
    for task in net.tasks:
        net.get_submodule(f"branches.{task}.head").register_forward_hook(lambda *_, task=task: seen.append(task))

    class Metrics:
        def update(self, prediction: Tensor, target: Tensor) -> None:
            pass

        def compute(self) -> dict[str, float]:
            return {}

    class Judged(Square):
        chooses = False

        def new_metrics(self) -> Metrics:
            return Metrics()

    class Data:
        def evaluation(self, *_: Any) -> list[Batch]:
            return [batch("p"), batch("q"), batch("p", "r")]

    tasks: Any = {task: Judged() for task in net.tasks}
    data: Any = Data()
    found = score({"net": net}, tasks, data, "validation", batch_size=4, precision=Precision(CPU))
    assert seen == ["p", "q", "p", "r"]
    net.eval()
    expected = {task: Square().loss_value(value[[0, 1, 3]], torch.tensor(0.5)) for task, value in net(X.double()).items()}
    assert {task: scores.loss for task, scores in found["net"].items()} == pytest.approx(
        {k: float(v.detach()) for k, v in expected.items()}
    )
