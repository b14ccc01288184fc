"""While a context lasts, calls of modules and custom autograd functions, entries of regions, and flags go through functions of ours."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import nn
from torch.utils import checkpoint

Call = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


@contextlib.contextmanager
def module_calls(call: Call, module: nn.Module) -> Generator[None]:
    """Let ``call(original, module, args, kwargs)`` stand in for every module call; ``original`` takes the module first.

    Args:
        call: What stands in.
        module: Classes of its submodules may have a ``__call__`` of their own, which is one call together with the plain one inside.
    """
    base: Callable[..., Any] = nn.Module.__call__
    kinds = {kind for submodule in module.modules() for kind in type(submodule).__mro__ if _calls_itself(kind)}
    originals = {kind: kind.__dict__["__call__"] for kind in kinds}
    inside: list[nn.Module] = []  # modules whose own ``__call__`` has begun and has not come to the plain one yet

    def plain(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if inside and inside[-1] is self:
            inside.pop()
            return base(self, *args, **kwargs)
        return call(base, self, args, kwargs)

    def patched(original: Callable[..., Any]) -> Callable[..., Any]:
        def begun(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            depth = len(inside)
            inside.append(self)
            try:
                return original(self, *args, **kwargs)
            finally:
                del inside[depth:]

        def own(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if inside and inside[-1] is self:  # of a class above, by super()
                return original(self, *args, **kwargs)
            return call(begun, self, args, kwargs)

        return own

    for kind, original in originals.items():
        kind.__call__ = patched(original)
    nn.Module.__call__ = plain
    try:
        yield
    finally:
        nn.Module.__call__ = base
        for kind, original in originals.items():
            kind.__call__ = original


def _calls_itself(kind: type[Any]) -> bool:
    return issubclass(kind, nn.Module) and kind is not nn.Module and "__call__" in kind.__dict__


@contextlib.contextmanager
def autograd_functions(call: Call) -> Generator[None]:
    """Let ``call(original, cls, args, kwargs)`` stand in for ``cls.apply`` of every ``torch.autograd.Function``."""
    original = torch.autograd.Function.__dict__["apply"]

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return call(original.__get__(None, cls), cls, args, kwargs)

    torch.autograd.Function.apply = classmethod(apply)
    try:
        yield
    finally:
        torch.autograd.Function.apply = original


@contextlib.contextmanager
def regions(entered: Callable[[str], None]) -> Generator[None]:
    """Call ``entered`` where code enters a region that torch tells no function mode of, with what it is."""
    kinds: dict[str, Any] = {"an autocast region": torch.autocast, "an inference_mode region": torch.inference_mode}
    originals = {name: kind.__enter__ for name, kind in kinds.items()}

    def patched(name: str) -> Callable[[Any], Any]:
        def enter(self: Any) -> Any:
            entered(name)
            return originals[name](self)

        return enter

    for name, kind in kinds.items():
        kind.__enter__ = patched(name)
    try:
        with _checkpoints(entered):
            yield
    finally:
        for name, kind in kinds.items():
            kind.__enter__ = originals[name]


# What ``checkpoint(use_reentrant=False)`` begins with, by the names of several releases of torch. The other kind is an autograd function.
_CHECKPOINTS = ("_checkpoint_without_reentrant_generator", "_checkpoint_without_reentrant_generator_impl")


@contextlib.contextmanager
def _checkpoints(entered: Callable[[str], None]) -> Generator[None]:
    """Without gradients such a checkpoint does nothing, and would be lost without a word."""
    found: dict[str, Any] = {name: getattr(checkpoint, name) for name in _CHECKPOINTS if hasattr(checkpoint, name)}

    def patched(original: Callable[..., Any]) -> Callable[..., Any]:
        def begin(*args: Any, **kwargs: Any) -> Any:
            entered("activation checkpointing")
            return original(*args, **kwargs)

        return begin

    for name, original in found.items():
        setattr(checkpoint, name, patched(original))
    try:
        yield
    finally:
        for name, original in found.items():
            setattr(checkpoint, name, original)


@contextlib.contextmanager
def grad_mode(enabled: Callable[[], bool]) -> Generator[None]:
    """Let code that asks whether gradients are recorded hear this instead."""
    original = torch.is_grad_enabled
    torch.is_grad_enabled = lambda: enabled() or original()
    try:
        yield
    finally:
        torch.is_grad_enabled = original


@contextlib.contextmanager
def exporting() -> Generator[None]:
    """Let code that asks whether it is being exported hear that it is: it leaves out what looks into the data then."""
    flags: Any = torch.compiler
    names = [name for name in ("_is_compiling_flag", "_is_exporting_flag") if hasattr(flags, name)]
    before = {name: getattr(flags, name) for name in names}
    try:
        for name in names:
            setattr(flags, name, True)
        yield
    finally:
        for name, value in before.items():
            setattr(flags, name, value)


@functools.cache
def applied(function: Any) -> Callable[..., Any]:
    """``function.apply`` as a plain function, the same one each time: generated code can name it."""

    def apply(*args: Any, **kwargs: Any) -> Any:
        return function.apply(*args, **kwargs)

    apply.__name__ = apply.__qualname__ = f"{function.__name__}_apply"
    apply.__module__ = function.__module__
    return apply
