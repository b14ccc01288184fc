"""A fresh draw: a third of timm's model families that are not on the list, the smallest model of each."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Collection
from typing import Any

import timm
import torch
from torch import Tensor, nn

from tests.family.network import CLASSES, Network, image

PREFIX = "draw/"
SMALL_SIZES = (64, 128, 112)  # pixels; the last for patches of 14


def drawn(seed: int, listed: Collection[str], *, share: float = 1 / 3) -> tuple[list[str], list[str]]:
    """The families that were drawn, and all that they were drawn from.

    Args:
        seed: Of the draw.
        listed: timm models whose families (modules of ``timm.models``) are known already.
        share: How many of the others.
    """
    known = {family_of(model) for model in listed}
    others = sorted(family for family in timm.list_modules() if family not in known)
    return sorted(random.Random(seed).sample(others, math.ceil(len(others) * share))), others


def family_of(model: str) -> str:
    return timm.model_entrypoint(model).__module__.rpartition(".")[2]


def smallest(family: str) -> str:
    """The model of a family with the fewest parameters; timm's own test models do not count, as nobody uses them."""
    counted = {model: _parameters(model) for model in timm.list_models(module=family) if not model.startswith("test_")}
    return min(counted, key=lambda model: (counted[model], model))


def _parameters(model: str) -> float:
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        try:
            return sum(parameter.numel() for parameter in timm.create_model(model).parameters())
        except (RuntimeError, NotImplementedError, TypeError):  # it computes with weights while it is built
            return math.inf


def network(model: str) -> Network:
    """A drawn model on small images if it takes them, else on those of its published size, with the stages that graphnas finds."""

    def build() -> nn.Module:
        return timm.create_model(model, num_classes=CLASSES)

    config = timm.get_pretrained_cfg(model, allow_unregistered=False)
    published = config.input_size[-1] if config is not None else 224
    tried = build()
    size = next((size for size in SMALL_SIZES if size < published and _takes(tried, size)), published)
    return Network(f"{PREFIX}{model}", family_of(model), build, image(size), choose_taps=chosen_taps)


def _takes(module: nn.Module, size: int) -> bool:
    example = image(size)()
    try:
        with torch.no_grad():
            module.eval()(example)
            module.train()(example)
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError):
        return False
    return True


def chosen_taps(module: nn.Module, example: Tensor) -> dict[str, Any]:
    """Four stages of taps for a network that graphnas knows no stages of: quarters of its longest chain of submodules.

    The chain with most parameters among those whose members are each called once and return one tensor.
    """
    returned: dict[str, list[Any]] = {}
    handles = [
        submodule.register_forward_hook(lambda _m, _i, value, name=name: returned.setdefault(name, []).append(value))
        for name, submodule in module.named_modules()
    ]
    with torch.no_grad():
        module.eval()(example)
    for handle in handles:
        handle.remove()
    order = list(returned)
    chains: dict[str, list[str]] = {}
    for name, values in returned.items():
        if name and len(values) == 1 and isinstance(values[0], Tensor) and values[0].dim() in (3, 4):
            chains.setdefault(name.rpartition(".")[0], []).append(name)
    sizes = {
        parent: sum(parameter.numel() for name in names for parameter in module.get_submodule(name).parameters())
        for parent, names in chains.items()
        if len(names) > 1
    }
    longest = sorted(chains[max(sizes, key=lambda parent: sizes[parent])], key=order.index)
    stages = min(4, len(longest))
    first = [round(i * len(longest) / stages) for i in range(stages + 1)]
    return {f"s{i + 1}": longest[first[i] : first[i + 1]] for i in range(stages)}
