"""``deeplab_head``: LargeFOV and ASPP, written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from graphnas.graph.types import Tokens
from graphnas.ops.base import TypeRuleError
from tests.ops.cases import IMAGE
from tests.ops.test_contract import build


def test_branches_without_hidden_layers_are_summed() -> None:
    head: Any = build("deeplab_head", {"out_channels": 3, "dilations": [1, 6]}).build([IMAGE])
    x = torch.randn(2, *IMAGE.shape)
    near, far = head.branches
    expected = F.conv2d(x, near.weight, near.bias, padding=1) + F.conv2d(x, far.weight, far.bias, padding=6, dilation=6)
    assert_close(head(x), expected)


def test_hidden_layers() -> None:
    head: Any = build("deeplab_head", {"out_channels": 3, "channels": 4, "dropout": 0.5}).build([IMAGE])
    [branch] = head.eval().branches
    x = torch.randn(2, *IMAGE.shape)
    for layer in (branch.fc6, branch.fc7):
        assert layer[0].bias is None
        norm = layer[1]
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)

    def hidden(x: torch.Tensor, layer: Any, rate: int, padding: int) -> torch.Tensor:
        x, norm = F.conv2d(x, layer[0].weight, padding=padding, dilation=rate), layer[1]
        return F.relu(F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-3))

    expected = branch.predict(hidden(hidden(x, branch.fc6, 12, 12), branch.fc7, 1, 0))
    assert_close(head(x), expected)


def test_dropout_is_for_training() -> None:
    head = build("deeplab_head", {"out_channels": 3, "channels": 16, "dropout": 0.5}).build([IMAGE])
    x = torch.randn(2, *IMAGE.shape)
    assert not torch.equal(head(x), head(x))
    assert torch.equal(head.eval()(x), head(x))


def test_tokens_are_refused() -> None:
    with pytest.raises(TypeRuleError) as caught:
        build("deeplab_head", {"out_channels": 3}).infer([Tokens(97, 8, 1, (8, 12))])
    assert (str(caught.value), caught.value.fix) == (
        "deeplab_head reads image[C, H, W], got tokens[97, 8]",
        "put a node {op: to_image} before it",
    )
