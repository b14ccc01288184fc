"""Torch's private and untyped corners, each behind one typed function: nothing else in the compiler names them."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

_Module = TypeVar("_Module", bound=nn.Module)

# -- modules


def paths_of(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Path and module of every submodule, each once, the module itself first, as ``""``."""
    return list(module.named_modules())  # pyright: ignore[reportUnknownArgumentType]


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """The parameters of a module that lie in no submodule; torch's own dict, so that changes to it last."""
    return module._parameters  # pyright: ignore[reportPrivateUsage]


def own_buffers(module: nn.Module) -> dict[str, Tensor | None]:
    """As ``own_parameters``, the buffers."""
    return module._buffers  # pyright: ignore[reportPrivateUsage]


def own_children(module: nn.Module) -> dict[str, nn.Module | None]:
    """As ``own_parameters``, the submodules; with those that are ``None``, which torch keeps a place for."""
    return module._modules  # pyright: ignore[reportPrivateUsage]


def share_tensors(source: nn.Module, made: nn.Module) -> None:
    """Give a module the very parameters and buffers of another, without those of submodules; buffers stay unsaved where they were."""
    own_parameters(made).update(own_parameters(source))
    own_buffers(made).update(own_buffers(source))
    made._non_persistent_buffers_set.update(source._non_persistent_buffers_set)  # pyright: ignore[reportPrivateUsage]


# Hooks that a library puts on its own modules, and that only collect values for what its forwards return: a recording follows them.
_COLLECTING = ("transformers.utils.output_capturing",)


def has_hooks(module: nn.Module) -> bool:
    """Whether the user registered a forward or backward hook on the module itself."""
    hooks: list[dict[int, Any]] = [
        module._forward_hooks,  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        module._forward_pre_hooks,  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        module._backward_hooks,  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        module._backward_pre_hooks,  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
    ]
    return any(getattr(hook, "__module__", None) not in _COLLECTING for kind in hooks for hook in kind.values())


def on_cpu(module: _Module) -> _Module:
    """The module itself, with its tensors on the CPU and dense in the usual order of dimensions."""
    moved: Any = module
    return moved.to(device="cpu", memory_format=torch.contiguous_format)  # torch's stub wants both or neither


def copy_of(module: _Module, memo: dict[int, Any] | None = None) -> _Module:
    """A deep copy, also where a module keeps a tensor that it computed, as those under torch's older weight norm do."""
    computed = {
        id(value): value.detach().clone()
        for submodule in module.modules()
        for value in vars(submodule).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    memo = {} if memo is None else memo
    memo.update(computed)
    return copy.deepcopy(module, memo)


def without_values(module: _Module) -> _Module:
    """A copy whose tensors have sizes and no values, on torch's meta device: to run it costs next to nothing.

    A copy, for what a module keeps of a run. And on a device of its own, by which a cache of a library's knows such tensors apart.
    """
    found = (value for submodule in module.modules() for value in vars(submodule).values() if isinstance(value, Tensor))
    memo: dict[int, Any] = {id(value): value.detach().to("meta") for value in (*found, *module.buffers())}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
    return copy.deepcopy(module, memo)


def is_uninitialized(module: nn.Module) -> bool:
    """Whether a lazy module in it has not run yet."""
    return any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers()))


def why_opaque(module: nn.Module) -> tuple[str, str] | None:
    """What keeps a module's forward from being looked into, and what to do about it."""
    if isinstance(module, torch.jit.ScriptModule):
        return "is scripted, and its forward can't be looked into", "give the module that it was scripted from"
    if hasattr(module, "_orig_mod"):
        return (
            "is compiled by torch.compile, and its forward can't be looked into",
            "give the module itself, and compile what comes out of it",
        )
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return "is wrapped for several devices, and its forward can't be looked into", "give the module inside: .module"
    return None


# -- tensors and nodes


def version_of(tensor: Tensor) -> int:
    """How often the tensor was changed in place; torch does not count for those made in inference mode."""
    with _unheard():
        return 0 if tensor.is_inference() else tensor._version


def versions_of(tensors: Sequence[Tensor]) -> list[int]:
    """``version_of`` of each."""
    with _unheard():
        return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def sizes_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape as plain numbers, also where a recorder would hand out numbers of its own."""
    with _unheard():
        return tuple(tensor.shape)


def storage_of(tensor: Tensor) -> int | None:
    """Which memory the tensor stands in; ``None`` for kinds that have none of their own."""
    with _unheard():
        if tensor.layout is not torch.strided:
            return None
        return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


def storages_of(tensors: Sequence[Tensor]) -> list[int | None]:
    """``storage_of`` of each."""
    with _unheard():
        return [
            tensor.untyped_storage()._cdata if tensor.layout is torch.strided else None  # pyright: ignore[reportPrivateUsage]
            for tensor in tensors
        ]


def alias_of(tensor: Tensor) -> Tensor:
    """Another tensor object of the same memory."""
    with _unheard():
        return torch.ops.aten.alias.default(tensor)


def _unheard() -> contextlib.AbstractContextManager[None]:
    """No function mode hears of what is done inside: a recorder takes its time, and records questions of its own for nothing."""
    return torch._C.DisableTorchFunction()  # pyright: ignore[reportPrivateUsage]


def is_tensor_method(function: Any) -> bool:
    """Whether a torch function is a method that C++ defines on tensors, such as ``Tensor.__add__``."""
    base = type(torch._C.TensorBase)  # pyright: ignore[reportPrivateUsage]
    return isinstance(getattr(function, "__objclass__", None), base)


def is_erased(node: fx.Node) -> bool:
    """Whether the node was erased from its graph."""
    return node._erased


# -- random numbers


def seed(number: int) -> None:
    """Seed torch's generators of all devices, and those of Python and NumPy, which a module may use too."""
    torch.manual_seed(number)  # pyright: ignore[reportUnknownMemberType]
    random.seed(number)
    np.random.seed(number % 2**32)


@contextlib.contextmanager
def random_state_kept(devices: Sequence[int] = ()) -> Generator[None]:
    """Give the generators of torch's CPU and these CUDA devices, of Python and of NumPy back as they were."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=list(devices)):  # pyright: ignore[reportUnknownMemberType]
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextlib.contextmanager
def seeded(number: int) -> Generator[None]:
    """Draw from this seed inside, on the CPU; the generator is given back as it was."""
    with random_state_kept():
        seed(number)
        yield


# -- files


def load_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU."""
    return safetensors.torch.load_file(path)  # pyright: ignore[reportUnknownMemberType]


def save_file(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, dense and on the CPU, to a safetensors file."""
    safetensors.torch.save_file(dict(tensors), path, metadata={"format": "pt"})  # pyright: ignore[reportUnknownMemberType]
