"""The recorded proof that a pruned network costs exactly the single-task network."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from graphnas.compiler.branch import Branch
from graphnas.compiler.inputs import in_precision_of, precision_of
from graphnas.compiler.macs import count_macs
from graphnas.compiler.supernet import Supernet
from graphnas.compiler.torch_typed import copy_of, on_cpu, random_state_kept
from graphnas.compiler.verify import leaves, materialize, shape_of, untouched
from graphnas.errors import RecordError
from graphnas.ops.opaque import without_published_weights
from graphnas.prune.kept import Kept
from graphnas.prune.settle import fusions_in, roundings
from graphnas.spec import dump_spec


@dataclass(frozen=True)
class Certificate:
    """A pruned network against a fresh single-task network, built or recorded independently of the supernet (CPU, eval, float32).

    Args:
        names_equal: The same parameters and buffers, in the same order.
        shapes_equal: Of the same shapes and dtypes.
        operations_equal: The same operations on the same values.
        macs: Multiply-accumulates of one sample, pruned.
        macs_single_task: The same of the fresh network, by the same counter.
        parameters: Number of parameters, pruned.
        parameters_single_task: The same of the fresh network.
        output_difference: Largest difference of the outputs after a strict load of the pruned weights into the fresh network;
            ``None`` if they do not fit.
        supernet_difference: Largest difference to the supernet whose cut links have gates of zero.
        forced: Links were cut that had not converged to zero.
        cut_links: How many links were cut.
        largest_contribution: Largest product of gate and gain among them, as they were.
        weights_sha256: Of the pruned weights.
        spec_sha256: Of the network's spec; ``None`` for a module of the user's own.
        cut_gap: Primary metric of the supernet minus that of the pruned network, where data was at hand.
        metric: The metric of ``cut_gap``.
        keeps: What is left: ``primary``, its network alone; ``primary+fusion``; ``all``, links and branches that send something.
        kept_links: How many links are left.
        binary_links: How many links of the supernet were to converge to 0 or 1.
        largest_rounding: Largest distance of a gate among them from that, as they were.
    """

    names_equal: bool
    shapes_equal: bool
    operations_equal: bool
    macs: int
    macs_single_task: int
    parameters: int
    parameters_single_task: int
    output_difference: float | None
    supernet_difference: float
    forced: bool
    cut_links: int
    largest_contribution: float
    weights_sha256: str
    spec_sha256: str | None = None
    cut_gap: float | None = None
    metric: str | None = None
    keeps: Literal["primary", "primary+fusion", "all"] = "primary"
    kept_links: int = 0
    binary_links: int = 0
    largest_rounding: float = 0.0

    @property
    def macs_ratio(self) -> float:
        """Multiply-accumulates, in those of the single-task network."""
        return self.macs / self.macs_single_task if self.macs_single_task else 1.0

    @property
    def parameters_ratio(self) -> float:
        """Parameters, in those of the single-task network."""
        return self.parameters / self.parameters_single_task if self.parameters_single_task else 1.0

    @property
    def holds(self) -> bool:
        """Whether the pruned network is exactly the single-task network."""
        return (
            self.names_equal
            and self.shapes_equal
            and self.operations_equal
            and self.macs == self.macs_single_task
            and self.parameters == self.parameters_single_task
            and self.output_difference == 0.0
        )

    def with_cut_gap(self, cut_gap: float, metric: str) -> Certificate:
        return replace(self, cut_gap=cut_gap, metric=metric)

    def to_dict(self) -> dict[str, Any]:
        ratios = {"macs_ratio": self.macs_ratio, "parameters_ratio": self.parameters_ratio}
        return {"holds": self.holds, **asdict(self), **ratios, "torch": torch.__version__}


def certify(
    net: Supernet,
    module: fx.GraphModule,
    fresh: nn.Module | None,
    cut: Collection[str],
    *,
    forced: bool,
    kept: Kept | None = None,
    rounded: Collection[str] = (),
) -> Certificate:
    """Compare a pruned network with a fresh one, and with the supernet whose cut links' gates are zero.

    Args:
        net: The supernet that the network was pruned from.
        module: The pruned network, on the CPU.
        fresh: A single-task network; built or copied if left out. Its weights are overwritten.
        cut: Ids of the links that were cut.
        forced: Whether some of them had not converged.
        kept: What is left, where that is more than the primary's network.
        rounded: Ids of the links whose gates are held at 0 or 1.
    """
    branch = net.recorded[net.primary]
    single = (fresh if fresh is not None else _rebuilt(branch)).cpu().eval()
    example = in_precision_of(module, {name: value.cpu() for name, value in branch.example.items()})
    if (dtype := precision_of(module)) is not None and precision_of(single) not in (None, dtype):
        single.to(dtype)  # the supernet was set to another one since it was woven
    materialize(single, example)
    with untouched(module):
        made = _compared(net, module.eval(), single, example, cut, rounded, forced=forced)
    distances = roundings(net)
    made = replace(made, binary_links=len(distances), largest_rounding=max(distances.values(), default=0.0))
    if kept is None:
        return made
    links = sum(len(list(fusion.fused_links())) for fusion in fusions_in(module))
    return replace(made, keeps=net.space.constraints.inference, kept_links=links, spec_sha256=spec_sha256(kept.to_dict()))


def _compared(
    net: Supernet,
    module: fx.GraphModule,
    single: nn.Module,
    example: Mapping[str, Tensor],
    cut: Collection[str],
    rounded: Collection[str],
    *,
    forced: bool,
) -> Certificate:
    branch = net.recorded[net.primary]
    own, other = module.state_dict(), single.state_dict()
    names_equal = list(own) == list(other)
    shapes_equal = all(name in other and (v.shape, v.dtype) == (other[name].shape, other[name].dtype) for name, v in own.items())
    given = _given(net, module, example)
    macs = count_macs(module, given)
    operations_equal, difference = False, None
    if names_equal and shapes_equal:
        _spoil(single)
        single.load_state_dict(own, strict=True)
        operations_equal = _same_operations(branch, single, example, module)
        difference = _difference(_run(single, example), _run(module, given))
    return Certificate(
        names_equal, shapes_equal, operations_equal, macs, count_macs(single, example), _count(module), _count(single),
        difference, _supernet_difference(net, module, given, cut, rounded), forced, len(cut), _largest_contribution(net, cut),
        weights_sha256(own), None if branch.spec is None else spec_sha256(dump_spec(branch.spec)),
    )  # fmt: skip


def _rebuilt(branch: Branch) -> nn.Module:
    """A network of the same kind, of its own; which weights it has does not matter."""
    if branch.rebuild is None:
        return copy_of(branch.module)
    with random_state_kept(), without_published_weights():
        return branch.rebuild()


def _same_operations(branch: Branch, single: nn.Module, example: Mapping[str, Tensor], module: fx.GraphModule) -> bool:
    try:
        again = Branch.from_module(single, taps=branch.requested, example=example, output=branch.output)
    except RecordError:  # it has not even the same taps
        return False
    return shape_of(again.recorded) == shape_of(module.graph)


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of names, dtypes, shapes and bytes, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def spec_sha256(data: Any) -> str:
    """Hash of a spec as it is written to JSON."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _spoil(module: nn.Module) -> None:
    """Make sure that every weight of the comparison comes from the load."""
    with torch.no_grad():
        for tensor in module.state_dict().values():  # shares memory; buffers that are not saved are no weights
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))


def _run(module: nn.Module, example: Mapping[str, Tensor]) -> Any:
    with torch.no_grad():
        return module(**example)


def _difference(first: Any, second: Any) -> float:
    """Largest absolute difference; 0.0 only where the values are equal bit for bit (two NaN count as equal)."""
    worst = 0.0
    ours, theirs = leaves(first), leaves(second)
    if [value.shape for value in ours] != [value.shape for value in theirs]:
        return float("inf")
    for one, other in zip(ours, theirs, strict=True):
        if not torch.equal(one, other):
            gap = (one.double() - other.double()).abs()
            worst = max(worst, float(gap.nan_to_num(nan=float("inf")).max()))
    return worst


def _given(net: Supernet, module: fx.GraphModule, example: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a pruned network reads: beside the primary's inputs those of branches that are left, as they were recorded."""
    names = [str(node.target) for node in module.graph.find_nodes(op="placeholder")]
    others = {name: value.cpu() for branch in net.recorded.values() for name, value in branch.example.items() if name in names}
    return {**{name: value for name, value in in_precision_of(module, others).items() if name not in example}, **example}


def _supernet_difference(
    net: Supernet, module: nn.Module, example: Mapping[str, Tensor], cut: Collection[str], rounded: Collection[str]
) -> float:
    closed = on_cpu(copy.deepcopy(net)).eval()
    for fusion in closed.fusions.values():
        fusion.closed, fusion.rounded = frozenset(cut), frozenset(rounded)
    inputs = {name: value for task in net.tasks for name, value in net.recorded[task].example.items()}
    shared = {**in_precision_of(closed, {name: value.cpu() for name, value in inputs.items()}), **example}
    prediction = _run(closed, {name: value[: next(iter(example.values())).shape[0]] for name, value in shared.items()})[net.primary]
    own = net.recorded[net.primary].prediction_of(_run(module, example))
    return _difference(prediction, own)


def _largest_contribution(net: Supernet, cut: Collection[str]) -> float:
    with torch.no_grad():
        return max((float(value.abs().sum()) for link, value in net.contributions().items() if link in cut), default=0.0)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
