"""How patches and images lie in another library's network: tokens -> class and register tokens and patch grid; images -> layout.

A tensor (N, L, D) does not tell which of its L tokens are patches, nor (N, a, b, c) which size is that of the channels. What does:

* **prefix tokens**: ``num_prefix_tokens`` (timm), or the parameters that hold them: ``cls_token``, ``register_tokens``, ... (all others);
* **the patch grid**: the image that the last convolution made before (patches are cut by one), with Swin's stages its halves; the grid that
  ``patch_embed.grid_size`` names (timm), or the network's input in patches of ``patch_size`` (torchvision, timm, Hugging Face's config);
* **channels last**: ``output_fmt`` (timm), what torchvision's Swin and timm's VOLO do it in, and ``nn.Linear`` and ``nn.LayerNorm``.

Nothing is guessed: a grid must give the number of tokens exactly, and where none does it stays unknown, for the tap to name it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from graphnas.graph.types import Image, Tokens, ValueType
from graphnas.ops.base import TypeRuleError

Grid = tuple[int, int]
_PREFIX_TOKENS = re.compile(r"(cls|class|dist|distillation|reg|register|storage)_tokens?(?:_?\d*)")  # numbered: one a stage, or a branch
_REORDERED = ("Hiera",)  # tokens lie in the order of its mask units: see ``reordered``
_HALVING = ("Swin", "Levit", "MultiScale")  # tokens of later stages are cut from those of earlier ones, without a convolution
_LAST = {"torchvision.models.swin_transformer": "features", "timm.models.volo": "network"}  # what works with channels last
_SHAPED = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.GroupNorm, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


class Network:
    """What one run of a network tells of how patches and images lie in it.

    Args:
        root: The network.
        inputs: The types of its inputs.
    """

    def __init__(self, root: nn.Module, inputs: Iterable[ValueType | None]) -> None:
        self.root = root
        self.inputs = [(value.height, value.width) for value in inputs if isinstance(value, Image)]
        self.cut: dict[Grid, None] = {}  # rows and columns of what convolutions made so far, the last one last
        self.held: dict[int, int | None] = {}

    def note(self, value: ValueType | None) -> None:
        """Take notice of what a convolution made; called in order of execution."""
        if isinstance(value, Image):
            self.cut.pop((value.height, value.width), None)
            self.cut[value.height, value.width] = None

    def with_patches(self, value: ValueType, path: str) -> ValueType:
        """Tokens that the submodule of this path made, with their prefix and grid where the network tells; any other value as it is."""
        around = self.around(path)
        if not isinstance(value, Tokens) or _is(around, _REORDERED):
            return value
        for prefix in dict.fromkeys((self._prefix(around), 0)):  # a block may also see the patches alone
            for grid in self._grids(around):
                if prefix + math.prod(grid) == value.length:
                    return replace(value, prefix=prefix, grid=grid)
        return value

    def reordered(self, value: Tokens, path: str) -> Tokens:
        """Tokens of a block of Hiera, timm's or Hugging Face's, with their grid and the order that its mask units have there.

        Others are returned as they are.
        """
        names = path.split(".")
        for inside, owner in enumerate(self.around(path)):
            reroll: Any = getattr(owner, "reroll", None)
            match names[len(names) - inside :]:
                case ["blocks", number, *_] if isinstance(reroll, nn.Module):  # timm's
                    schedule: Any = reroll.schedule
                case ["stages", number, *_] if reroll is not None:
                    schedule = owner.schedule
                case _:
                    continue
            index = int(number)
            _, size = schedule[index]
            if math.prod(size) == value.length:
                order = reroll(torch.arange(value.length).view(1, -1, 1), index).flatten().tolist()
                return replace(value, grid=(size[0], size[1]), order=tuple(order))
        return value

    def named_patches(self, value: Tokens, path: str, prefix: int | None, grid: Grid | None) -> Tokens:
        """Tokens with the prefix and the grid that a user names; what is not named follows from the other, if it can.

        Raises:
            TypeRuleError: They do not fit the number of tokens, or leave it open how the patches lie.
        """
        if grid is not None:
            first = value.length - math.prod(grid) if prefix is None else prefix
            if first < 0 or first + math.prod(grid) != value.length:
                named = f"a grid of {list(grid)}" + (f" and {prefix} prefix tokens" if prefix else "")
                message = f"{named} makes {math.prod(grid) + (prefix or 0)} tokens, there are {value.length}"
                raise TypeRuleError(message, field="grid", fix=f"prefix + ROWS * COLUMNS must be {value.length}")
            return replace(value, prefix=first, grid=grid)
        assert prefix is not None
        patches = value.length - prefix
        side = math.isqrt(max(patches, 0))
        for found in (*self._grids(self.around(path)), (side, side)):
            if patches > 0 and math.prod(found) == patches:
                return replace(value, prefix=prefix, grid=found)
        message = f"{value} less {prefix} prefix tokens is no square of patches"
        raise TypeRuleError(message, field="prefix", fix=f"name the patches too: {{prefix: {prefix}, grid: [ROWS, COLUMNS]}}")

    def channels_last(self, path: str) -> bool:
        """Whether a value (N, a, b, c) of the submodule of this path is (N, H, W, C), as far as the network tells."""
        maker, *_ = around = self.around(path)
        if isinstance(maker, _SHAPED):
            return False
        if isinstance(maker, nn.LayerNorm):  # LayerNorm2d is one of (N, C, H, W), and Hugging Face's may be either
            return "2d" not in type(maker).__name__ and getattr(maker, "data_format", "channels_last") == "channels_last"
        if isinstance(maker, nn.Linear):
            return True
        for inner, owner in zip((None, *around), around, strict=False):
            told = getattr(owner, "output_fmt", None) or getattr(getattr(owner, "patch_embed", None), "output_fmt", None)
            if told is not None:
                return str(getattr(told, "value", told)) == "NHWC"
            if inner is not None and inner is getattr(owner, _LAST.get(type(owner).__module__, ""), None):
                return True
        return False

    def looks_channels_last(self, value: Image) -> bool:
        """Whether an image has the exact proportions of an input if it is read with channels last, and far others as it is read here."""
        for rows, columns in self.inputs:
            stretched = abs(math.log(value.height * columns / (value.width * rows)))
            if value.channels * columns == value.height * rows and stretched > math.log(1.25):
                return True
        return False

    def around(self, path: str) -> tuple[nn.Module, ...]:
        """The submodule of this path and those that it is inside of, outwards; a path that goes on below a submodule ends at it."""
        found: list[nn.Module] = [self.root]
        for part in path.split(".") if path else ():
            inner = _child(found[-1], part)
            if inner is None:
                break
            found.append(inner)
        return tuple(reversed(found))

    def _prefix(self, around: Sequence[nn.Module]) -> int:
        """How many class and register tokens the nearest network around has."""
        for owner in around:
            number: object = getattr(owner, "num_prefix_tokens", None)
            if isinstance(number, int):
                return number
            if (found := self._held(owner)) is not None:
                return found
        return 0

    def _held(self, module: nn.Module) -> int | None:
        """The prefix tokens that are parameters of the first module inside that has any."""
        if id(module) not in self.held:
            own = module.named_parameters(recurse=False)
            tokens = {match[1]: _count(parameter) for name, parameter in own if (match := _PREFIX_TOKENS.fullmatch(name))}
            inner = (self._held(child) for child in _children(module).values())
            self.held[id(module)] = sum(tokens.values()) if tokens else next((found for found in inner if found is not None), None)
        return self.held[id(module)]

    def _grids(self, around: Sequence[nn.Module]) -> Iterator[Grid]:
        """Grids that the patches may have, the likeliest first."""
        yield from reversed(self.cut)
        if _is(around, _HALVING):
            yield from (half for size in reversed(self.cut) for half in _halves(*size))
        for owner in around:
            embedding = getattr(owner, "patch_embed", None)
            if (size := _pair(getattr(embedding, "grid_size", None))) is not None:
                yield size
            for holder in (embedding, owner, getattr(owner, "config", None)):
                if (patch := _pair(getattr(holder, "patch_size", None))) is not None:
                    yield from ((rows // patch[0], columns // patch[1]) for rows, columns in self.inputs)


def _halves(rows: int, columns: int) -> Iterator[Grid]:
    """Half as many rows and columns, a quarter, ... down to one."""
    while rows > 1 or columns > 1:
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
        yield rows, columns


def _is(around: Sequence[nn.Module], names: Sequence[str]) -> bool:
    return any(name in type(owner).__name__ for owner in around for name in names)


def _count(tokens: Tensor) -> int:
    """How many tokens a parameter (1, n, D) or (D) holds."""
    return tokens.shape[-2] if tokens.dim() > 1 else 1


def _pair(value: object) -> Grid | None:
    """A patch size or a grid, if it is one."""
    sizes: list[Any] = [value, value] if isinstance(value, int) else list(value) if isinstance(value, (tuple, list)) else []  # pyright: ignore[reportUnknownArgumentType]
    if len(sizes) == 2 and all(isinstance(size, int) and size > 0 for size in sizes):
        return (sizes[0], sizes[1])
    return None


def _child(module: nn.Module, name: str) -> nn.Module | None:
    untyped: Any = module
    return untyped._modules.get(name)  # not named_children: a container of n modules is asked n times


def _children(module: nn.Module) -> dict[str, nn.Module]:
    untyped: Any = module
    return dict(untyped.named_children())
