"""Caches of keys and values, which decoders of transformers make, hand from layer to layer, and return.

They are objects that layers change, so no values of a graph. A graph makes an empty one in each run, as the decoder does, and hands it on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from graphnas.compiler.narrowing import is_list, is_mapping, is_tuple
from graphnas.compiler.torch_typed import paths_of

_MODULE = "transformers.cache_utils"
_EMPTY: dict[str, Callable[[], Any]] = {}


def is_cache(value: Any) -> bool:
    return any(kind.__module__ == _MODULE for kind in type(value).__mro__[:-1])


def cached(value: Any) -> list[Tensor]:
    """The tensors in a cache, in the order of its layers."""
    return list(_tensors(value))


def empty_like(value: Any) -> Callable[[], Any]:
    """What makes an empty cache of this kind: the same function for every cache of one description."""
    described = _described(value)
    if described not in _EMPTY:
        template = copy.deepcopy(value)

        def empty_cache() -> Any:
            return copy.deepcopy(template)

        _EMPTY[described] = empty_cache
    return _EMPTY[described]


def without_cache(module: nn.Module) -> str:
    """What switches the caches of a network off."""
    seen: dict[int, str] = {}
    for path, submodule in paths_of(module):
        config: Any = getattr(submodule, "config", None)
        if getattr(config, "use_cache", False) is True:
            seen.setdefault(id(config), f"{path}.config" if path else "config")
    return f"switch the cache off: {'; '.join(f'{config}.use_cache = False' for config in seen.values()) or 'use_cache=False'}"


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    else:
        for part in _parts(value).values():
            yield from _tensors(part)


def _described(value: Any) -> str:
    parts = {str(name): _described(part) for name, part in _parts(value).items()}
    return f"{type(value).__qualname__}{parts}" if parts or is_cache(value) else f"{type(value).__qualname__} {value!r}"


def _parts(value: Any) -> dict[Any, Any]:
    if is_cache(value):
        attributes: dict[str, Any] = value.__dict__
        return {**attributes}
    if is_mapping(value):
        return {key: value[key] for key in value}
    return dict(enumerate(value)) if is_list(value) or is_tuple(value) else {}
