"""Vision transformer parts (arXiv:2010.11929): ``patch_embed``, ``attention``, ``transformer_block``; parameter names as timm's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from graphnas.graph.types import Image, Tokens, ValueType
from graphnas.ops.base import Operation, TypeRuleError
from graphnas.ops.linear import MlpModule
from graphnas.ops.rules import one
from graphnas.schema import Flag, PositiveInt, PositiveNumber, Share


class PatchEmbed(Operation):
    """image[C, H, W] -> tokens[L, width]: a linear map of every patch, plus a position embedding."""

    op: Literal["patch_embed"] = "patch_embed"
    width: PositiveInt = Field(examples=[192])
    """Width of the tokens."""
    patch_size: PositiveInt = 16
    """Pixels, high and wide."""
    class_token: Flag = False
    """A learned token in front of the patches."""
    position: Literal["learned", "none"] = "learned"
    """Added to every token; at other image sizes it is resized bicubically."""

    def infer(self, inputs: Sequence[ValueType]) -> Tokens:
        value = one(self, inputs, Image)
        if value.height % self.patch_size or value.width % self.patch_size:
            raise TypeRuleError(
                f"{value} does not divide into patches of {self.patch_size} pixels",
                field="patch_size",
                fix="a patch_size that divides both, or crop the images to multiples of it",
            )
        grid = (value.height // self.patch_size, value.width // self.patch_size)
        return Tokens(grid[0] * grid[1] + self.class_token, self.width, int(self.class_token), grid)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        value = one(self, inputs, Image)
        return value.channels * value.height * value.width * self.width

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        result, in_channels = self.infer(inputs), one(self, inputs, Image).channels
        learned = self.class_token + (result.length if self.position == "learned" else 0)
        return self.width * (in_channels * self.patch_size**2 + 1 + learned)

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return PatchEmbedding(one(self, inputs, Image).channels, self.infer(inputs), self.patch_size, learned=self.position == "learned")


class Attention(Operation):
    """tokens[L, D] -> tokens[L, D]: multi-head self-attention."""

    op: Literal["attention"] = "attention"
    heads: PositiveInt = Field(examples=[3])
    """Attention heads; they divide the width."""
    dropout: Share = 0.0
    """Of the result."""

    def infer(self, inputs: Sequence[ValueType]) -> Tokens:
        return _divided(one(self, inputs, Tokens), self.heads)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        return _attention_macs(self.infer(inputs))

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        return _attention_parameters(self.infer(inputs).width)

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        return AttentionModule(self.infer(inputs).width, self.heads, self.dropout)


class TransformerBlock(Operation):
    """tokens[L, D] -> tokens[L, D]: x + attention(norm(x)), then x + mlp(norm(x))."""

    op: Literal["transformer_block"] = "transformer_block"
    heads: PositiveInt = Field(examples=[3])
    """Attention heads; they divide the width."""
    mlp_ratio: PositiveNumber = 4.0
    """Width of the hidden layer over that of the tokens."""
    dropout: Share = 0.0
    """Share of features that become zero while training."""
    eps: PositiveNumber = 1e-6
    """Of the layer norms."""

    def infer(self, inputs: Sequence[ValueType]) -> Tokens:
        return _divided(one(self, inputs, Tokens), self.heads)

    def macs(self, inputs: Sequence[ValueType]) -> int:
        value = self.infer(inputs)
        return _attention_macs(value) + 2 * value.length * value.width * self._hidden(value)

    def parameter_count(self, inputs: Sequence[ValueType]) -> int:
        value = self.infer(inputs)
        width, hidden = value.width, self._hidden(value)
        return 4 * width + _attention_parameters(width) + hidden * (width + 1) + width * (hidden + 1)

    def build(self, inputs: Sequence[ValueType]) -> nn.Module:
        value = self.infer(inputs)
        return TransformerBlockModule(value.width, self.heads, self._hidden(value), self.dropout, self.eps)

    def _hidden(self, value: Tokens) -> int:
        return int(value.width * self.mlp_ratio)


class PatchEmbedding(nn.Module):
    """(N, C, H, W) -> (N, L, D)."""

    def __init__(self, in_channels: int, result: Tokens, patch_size: int, *, learned: bool) -> None:
        super().__init__()
        self.prefix, self.grid = result.prefix, result.grid
        self.proj = nn.Conv2d(in_channels, result.width, patch_size, patch_size)
        self.cls_token = nn.Parameter(_truncated_normal(1, 1, result.width)) if self.prefix else None
        self.pos_embed = nn.Parameter(_truncated_normal(1, result.length, result.width)) if learned else None

    def forward(self, x: Tensor) -> Tensor:
        patches = self.proj(x)
        tokens = patches.flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        if self.pos_embed is None:
            return tokens
        return tokens + self._positions(self.pos_embed, (patches.shape[2], patches.shape[3]))

    def _positions(self, embedding: Tensor, grid: tuple[int, int]) -> Tensor:
        if grid == self.grid:
            return embedding
        assert self.grid is not None
        image = embedding[:, self.prefix :].transpose(1, 2).reshape(1, -1, *self.grid)
        image = F.interpolate(image, size=grid, mode="bicubic", align_corners=False)
        return torch.cat([embedding[:, : self.prefix], image.flatten(2).transpose(1, 2)], dim=1)


class AttentionModule(nn.Module):
    """(N, L, D) -> (N, L, D)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (N, heads, L, D / heads)
        return self.drop(self.proj(mixed.transpose(1, 2).reshape(batch, length, width)))


class TransformerBlockModule(nn.Module):
    """(N, L, D) -> (N, L, D)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = AttentionModule(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MlpModule(width, hidden, width, "gelu", dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def _divided(value: Tokens, heads: int) -> Tokens:
    if value.width % heads:
        raise TypeRuleError(f"{value} does not divide into {heads} heads", field="heads", fix=f"a divisor of {value.width}")
    return value


def _attention_macs(value: Tokens) -> int:
    return 4 * value.length * value.width**2 + 2 * value.length**2 * value.width


def _attention_parameters(width: int) -> int:
    return 4 * width * (width + 1)


def _truncated_normal(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(*shape), std=0.02)
