"""While a context lasts, calls of modules and of custom autograd functions go through a function of ours."""

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


@functools.cache
def applied(function: Any) -> Callable[..., Any]:
    """``function.apply`` as a plain function, the same one each time: generated code can name it."""

    def apply(*args: Any, **kwargs: Any) -> Any:
        return function.apply(*args, **kwargs)

    apply.__name__ = apply.__qualname__ = f"{function.__name__}_apply"
    apply.__module__ = function.__module__
    return apply
