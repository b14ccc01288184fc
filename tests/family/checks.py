"""What the coverage table asks of a network, each as a function that raises where it does not hold."""

from __future__ import annotations

import copy
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler.branch import Branch
from tests.family.network import Network, resnet18_for


class Unequal(AssertionError):
    """Two things that had to be equal bit for bit are not."""


@dataclass
class Trial:
    """What the checks of one network hand on to each other."""

    network: Network
    facts: dict[str, Any] = field(default_factory=dict)
    module: nn.Module = field(init=False)
    original: nn.Module = field(init=False)
    taps: Mapping[str, Any] | None = None
    branch: Branch = field(init=False)
    inputs: dict[str, Tensor] = field(init=False)
    trained: frozenset[str] = frozenset()  # names of the parameters that get a gradient from the original
    net: gn.Supernet = field(init=False)
    fresh: nn.Module = field(init=False)
    pruned: gn.Pruned = field(init=False)


def built(trial: Trial) -> None:
    trial.module = fresh(trial.network, seed=0)
    perturb(trial.module, seed=1)
    trial.original = copy.deepcopy(trial.module)
    trial.facts["parameters"] = sum(parameter.numel() for parameter in trial.module.parameters())


def traced(trial: Trial) -> None:
    """A branch is recorded, and the module is left as it was."""
    before = copied(trial.module.state_dict())
    trial.branch, trial.taps, trial.facts["taps"] = trial.network.traced(trial.module)
    require_equal(trial.module.state_dict(), before, "the module's weights before and after recording")
    trial.inputs = dict(trial.branch.example)
    stages: dict[str, int] = {}
    for tap in trial.branch.taps:
        stages[tap.stage] = stages.get(tap.stage, 0) + 1
    trial.facts["stages"] = stages
    trial.facts["input"] = {name: list(value.shape[1:]) for name, value in trial.inputs.items()}
    trial.facts["tap_types"] = sorted({type(tap.type).__name__.lower() for tap in trial.branch.taps})


def equal_in_eval(trial: Trial) -> None:
    """The recorded graph gives what the original gives, in eval mode, for two batch sizes."""
    graph = alone(trial.branch).eval()
    trial.original.eval()
    for inputs in (trial.inputs, one_more(trial.inputs)):
        with torch.no_grad():
            found = graph(**inputs)["p"]
            expected = trial.branch.prediction_of(trial.original(**inputs))
        require_equal(found, expected, f"the prediction for {batch_of(inputs)} samples")


def equal_in_training(trial: Trial) -> None:
    """And in train mode with one seed: the prediction, every gradient, every buffer."""
    state = copied(trial.module.state_dict())
    graph = alone(trial.branch).train()
    trial.original.train()
    torch.manual_seed(7)
    found = graph(**trial.inputs)["p"]
    loss_of(found).backward()
    torch.manual_seed(7)
    expected = trial.branch.prediction_of(trial.original(**trial.inputs))
    loss_of(expected).backward()
    require_equal(found, expected, "the prediction")
    ours, theirs = gradients(trial.module), gradients(trial.original)
    trial.trained = frozenset(theirs)
    require_equal(ours, theirs, "the gradient")
    require_equal(trial.module.state_dict(), trial.original.state_dict(), "the weights and buffers after a step")
    for module in (trial.module, trial.original):
        module.zero_grad(set_to_none=True)
        module.load_state_dict(state)


def same_keys(trial: Trial) -> None:
    """What comes out of pruning has the keys of the original, in its order."""
    module = gn.prune(alone(trial.branch).eval(), force=True).module
    own, other = list(module.state_dict()), list(trial.original.state_dict())
    if own != other:
        more = [key for key in own if key not in other] + [key for key in other if key not in own]
        raise Unequal(f"{len(own)} keys against {len(other)}: {', '.join(more[:4]) or 'in another order'}")


def woven_with_itself(trial: Trial) -> None:
    """Links of the published space between two of the kind, with random weights and gates: they do something, and it is finite."""
    second = copy.deepcopy(trial.original)
    perturb(second, seed=3)
    trial.net = woven(trial.branch, trial.network.branch(second, trial.taps))
    trial.facts["links"] = len(trial.net.links)
    require_effect(trial.net, trial.branch, trial.original, trial.inputs)


def one_step(trial: Trial) -> None:
    step(trial.net, trial.inputs, trial.trained)


def equal_after_pruning(trial: Trial) -> None:
    """The pruned network is the user's module with its trained weights: all that it returns, in eval and in train mode."""
    trial.fresh = fresh(trial.network, seed=4)
    trial.pruned = gn.prune(trial.net.eval(), force=True, fresh=trial.fresh)
    require_certificate(trial.pruned)
    same_outputs(trial.pruned.module, trial.module, trial.inputs)


def loaded_strictly(trial: Trial) -> None:
    """The artifact's weights fit a fresh original, of whose own weights nothing is left, and which then gives the same."""
    with tempfile.TemporaryDirectory() as folder:
        gn.save(trial.pruned, folder)
        state = load_file(f"{folder}/model.safetensors")
    with torch.no_grad():
        for tensor in trial.fresh.state_dict().values():
            tensor.zero_()
        trial.fresh.load_state_dict(state, strict=True)
        require_equal(trial.fresh.eval()(**trial.inputs), trial.module.eval()(**trial.inputs), "what the loaded original returns")


def exported(trial: Trial) -> None:
    """``torch.export`` takes the pruned network, and gives the same; or, where export changes the original itself, the same as of that."""
    module = trial.pruned.module.eval()
    with torch.no_grad():
        found = program_of(module, trial.inputs)(**trial.inputs)
        try:
            require_equal(found, module(**trial.inputs), "what the exported program returns")
        except Unequal as error:  # a fast path that exists in eager mode alone: torchvision's attention
            try:
                require_equal(found, program_of(trial.module.eval(), trial.inputs)(**trial.inputs), "")
            except Unequal:
                raise error from None
            trial.facts["exported_as"] = "the original's export, which differs from the original"


def woven_with_another(trial: Trial) -> None:
    """The same, from weaving to pruning, with a network of another family as the auxiliary."""
    for name in ("net", "pruned", "fresh"):
        trial.__dict__.pop(name, None)  # memory
    module, branch = trial.module, trial.branch
    trial.original.load_state_dict(module.state_dict())
    torch.manual_seed(8)
    other = (trial.network.partner or resnet18_for)(branch.example)
    net = woven(branch, other)
    trial.facts["links_with_another"] = len(net.links)
    inputs = {**branch.example, **other.example}
    require_effect(net, branch, trial.original, inputs)
    step(net, inputs, trial.trained)
    pruned = gn.prune(net.eval(), force=True)
    require_certificate(pruned)
    same_outputs(pruned.module, module, dict(branch.example))


CHECKS: dict[str, tuple[Callable[[Trial], None], str]] = {  # name -> (check, the one that it needs)
    "built": (built, ""),
    "traced": (traced, "built"),
    "eval": (equal_in_eval, "traced"),
    "train": (equal_in_training, "traced"),
    "keys": (same_keys, "traced"),
    "itself": (woven_with_itself, "traced"),
    "step": (one_step, "itself"),
    "pruned": (equal_after_pruning, "step"),
    "loaded": (loaded_strictly, "pruned"),
    "exported": (exported, "pruned"),
    "another": (woven_with_another, "traced"),
}


def examine(network: Network) -> Iterator[tuple[str, str | None, Trial]]:
    """Run all checks. Yields each one's name, and why it does not hold (``None`` if it does); those that need a failed one are left out."""
    trial = Trial(network)
    held: set[str] = {""}
    for name, (check, needed) in CHECKS.items():
        if needed not in held:
            continue
        reason = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(trial)
            held.add(name)
        except Exception as error:  # noqa: BLE001  # whatever a network does is its row in the table
            reason = f"{type(error).__name__}: {error}"
        yield name, reason, trial


# -- parts


def fresh(network: Network, *, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return network.build()


@torch.no_grad()
def perturb(module: nn.Module, *, seed: int) -> None:
    """Noise on every weight: layer scales of 1e-6, heads of zeros and tiny initial weights would hide what goes wrong before them."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if parameter.is_floating_point():
            scale = 0.3 / math.sqrt(parameter[0].numel()) if parameter.dim() > 1 else 0.02
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype), alpha=scale)


def alone(branch: Branch) -> gn.Supernet:
    return gn.weave({"p": branch}, primary="p", space=gn.load_spec("single-task"))


@torch.no_grad()
def woven(primary: Branch, auxiliary: Branch) -> gn.Supernet:
    """Two branches in the published space, its links' weights and gates random; every stage that both have gets links."""
    net = gn.weave({"p": primary, "a": auxiliary}, primary="p", space=gn.load_spec("aux-nas"))
    linked = {link.destination.tap for link in net.links if link.destination.task == "p"}
    reached = {tap.stage for tap in primary.taps if tap.name in linked}
    bare = {tap.stage for tap in primary.taps} & {tap.stage for tap in auxiliary.taps} - reached
    if bare or not reached:
        raise Unequal(f"no link reaches {', '.join(sorted(bare)) or 'any tap'}")
    generator = torch.Generator().manual_seed(6)
    for alpha in net.alphas.values():
        alpha.copy_(torch.randn(alpha.shape, generator=generator))
    for operations in net.link_operations.values():
        for operation in operations.values():
            for weight in operation.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3 / math.sqrt(weight.shape[-1]))
    return net


def require_effect(net: gn.Supernet, branch: Branch, original: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        joined = net.eval()(**inputs)
        single = branch.prediction_of(original.eval()(**{name: inputs[name] for name in branch.example}))
    for task, prediction in joined.items():
        if not bool(prediction.isfinite().all()):
            raise Unequal(f"the prediction of {task} is not finite")
    if torch.equal(joined["p"], single):
        raise Unequal("the links change nothing")


def step(net: gn.Supernet, inputs: Mapping[str, Tensor], needed: frozenset[str]) -> None:
    """One joint step of weights and alphas; all gradients are finite, and none is missing."""
    net.train()
    weights = torch.optim.SGD(net.weight_parameters(), lr=1e-4)
    alphas = torch.optim.Adam(net.alpha_parameters(), lr=1e-2, eps=1e-30)  # moves whatever has a gradient
    before = copied(net.alphas)
    torch.manual_seed(9)
    predictions = net(**inputs)
    total = sum((loss_of(prediction) for prediction in predictions.values()), start=gn.penalty(net, progress=0.6))
    total.backward()
    found = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    endless = [
        name for name, parameter in net.named_parameters() if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
    ]
    if endless:
        raise Unequal(f"{len(endless)} gradients are not finite: {endless[0]}")
    missing = [name for name in sorted(needed) if f"branches.p.{name}" not in found]
    missing += [link for link, alpha in net.alphas.items() if alpha.grad is None]
    if missing:
        raise Unequal(f"{len(missing)} gradients are missing: {missing[0]}")
    weights.step()
    alphas.step()
    for direction in ("a2p", "p2a"):
        moved = [link.id for link in net.links if link.direction == direction and not torch.equal(net.alphas[link.id], before[link.id])]
        if not moved:
            raise Unequal(f"no alpha of the {direction} links was changed by the step")
    net.zero_grad(set_to_none=True)


def require_certificate(pruned: gn.Pruned) -> None:
    certificate = pruned.certificate.to_dict()
    if not pruned.certificate.holds:
        raise Unequal(f"the certificate does not hold: { ({k: v for k, v in certificate.items() if 'equal' in k or 'difference' in k}) }")


def same_outputs(one: nn.Module, other: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """All that two modules of the same weights return, and their buffers afterwards, in eval and in train mode."""
    state = copied(other.state_dict())
    for training in (False, True):
        mode = "train" if training else "eval"
        results: list[Any] = []
        for module in (one, other):
            module.train(training)
            torch.manual_seed(11)
            with torch.no_grad():
                results.append(module(**inputs))
        require_equal(results[0], results[1], f"what is returned in {mode} mode")
        require_equal(one.state_dict(), other.state_dict(), f"the weights and buffers in {mode} mode")
        for module in (one, other):
            module.load_state_dict(state)
            module.eval()


def program_of(module: nn.Module, inputs: dict[str, Tensor]) -> nn.Module:
    return torch.export.export(module, (), kwargs=inputs, strict=False).module()


def loss_of(prediction: Tensor) -> Tensor:
    target = torch.randn(prediction.shape, generator=torch.Generator().manual_seed(10))
    return (prediction.float() - target).square().mean()


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def one_more(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([value, value[:1]]) for name, value in inputs.items()}


def batch_of(inputs: Mapping[str, Tensor]) -> int:
    return len(next(iter(inputs.values())))


def tensors_in(value: Any, name: str = "") -> dict[str, Tensor]:
    """The tensors in what a module returns, by where they stand; the classes around them too, as far as they matter to a reader."""
    if isinstance(value, Tensor):
        return {name: value}
    if isinstance(value, Mapping):
        parts = {str(key): part for key, part in value.items()}
    elif is_dataclass(value):
        parts = {part.name: getattr(value, part.name) for part in fields(value)}
    elif isinstance(value, list | tuple):
        parts = {str(index): part for index, part in enumerate(value)}
    else:
        return {}
    return {key: tensor for part, inside in parts.items() for key, tensor in tensors_in(inside, f"{name}.{part}".strip(".")).items()}


def require_equal(found: Any, expected: Any, what: str) -> None:
    ours, theirs = tensors_in(found), tensors_in(expected)
    if list(ours) != list(theirs):
        apart = [key for key in theirs if key not in ours] or [key for key in ours if key not in theirs] or list(theirs)
        raise Unequal(f"{what}: {len(ours)} tensors against {len(theirs)}, {apart[0]!r} is the first that is apart")
    unequal = [key for key, tensor in ours.items() if not same_tensor(tensor, theirs[key])]
    if unequal:
        one, other = ours[unequal[0]], theirs[unequal[0]]
        size = f"{(one.double() - other.double()).abs().max():.2g}" if one.shape == other.shape else f"{one.shape} against {other.shape}"
        raise Unequal(f"{what} differs in {len(unequal)} of {len(ours)} tensors, {unequal[0] or 'the only one'} by {size}")


def same_tensor(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
