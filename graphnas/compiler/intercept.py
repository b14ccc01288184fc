"""While a context lasts, calls of modules and custom autograd functions, and entries of regions, go through a function of ours."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import nn

Call = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


@contextlib.contextmanager
def module_calls(call: Call) -> Generator[None]:
    """Let ``call(original, module, args, kwargs)`` stand in for every module call; ``original`` takes the module first."""
    original = nn.Module.__call__

    def patched(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return call(original, self, args, kwargs)

    nn.Module.__call__ = patched
    try:
        yield
    finally:
        nn.Module.__call__ = original


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
    """Call ``entered("autocast")`` or ``entered("inference_mode")`` where code enters one: torch tells no function mode of them."""
    kinds: dict[str, Any] = {"autocast": torch.autocast, "inference_mode": torch.inference_mode}
    originals = {name: kind.__enter__ for name, kind in kinds.items()}

    def patched(name: str) -> Callable[[Any], Any]:
        def enter(self: Any) -> Any:
            entered(name)
            return originals[name](self)

        return enter

    for name, kind in kinds.items():
        kind.__enter__ = patched(name)
    try:
        yield
    finally:
        for name, kind in kinds.items():
            kind.__enter__ = originals[name]


@functools.cache
def applied(function: Any) -> Callable[..., Any]:
    """``function.apply`` as a plain function, the same one each time: generated code can name it."""

    def apply(*args: Any, **kwargs: Any) -> Any:
        return function.apply(*args, **kwargs)

    apply.__name__ = apply.__qualname__ = f"{function.__name__}_apply"
    apply.__module__ = function.__module__
    return apply
