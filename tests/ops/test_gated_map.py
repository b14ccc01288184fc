"""A gate whose weight is frozen gets its gradient without the weight's: the same as plain autograd's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphnas.ops.gated_map import gated_map

FORMS = {"tokens": (2, 7, 5), "vector": (4, 5), "image": (2, 5, 4, 3)}
CASES = [("tokens", 1, False), ("vector", 1, False), ("image", 1, False), ("image", 1, True), ("image", 3, False), ("image", 3, True)]


def drawn(form: str, kernel: int, *, last: bool) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(FORMS[form], dtype=torch.float64, generator=generator)
    if last:
        y = y.contiguous(memory_format=torch.channels_last)
    weight = torch.randn((6, 5) if kernel == 1 else (6, 5, kernel, kernel), dtype=torch.float64, generator=generator)
    return y.requires_grad_(), weight, torch.tensor([0.3], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("form", "kernel", "last"), CASES)
def test_it_has_the_gradients_of_plain_autograd(form: str, kernel: int, last: bool) -> None:
    y, weight, gate = drawn(form, kernel, last=last)
    spatial = form == "image"
    plain = gated_map(y, weight.clone().requires_grad_(), gate, spatial=spatial)
    found = gated_map(y, weight, gate, spatial=spatial)
    assert torch.equal(found, plain)
    upstream = torch.randn(plain.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for mine, theirs in zip(torch.autograd.grad(found, (y, gate), upstream), torch.autograd.grad(plain, (y, gate), upstream), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("form", "kernel", "last"), CASES)
def test_its_gradients_are_derivatives_and_have_derivatives(form: str, kernel: int, last: bool) -> None:
    y, weight, gate = drawn(form, kernel, last=last)

    def of(y: Tensor, gate: Tensor) -> Tensor:
        return gated_map(y, weight, gate, spatial=form == "image")

    assert torch.autograd.gradcheck(of, (y, gate))
    assert torch.autograd.gradgradcheck(of, (y, gate))


def test_images_that_lie_channels_last_stay_so_and_give_what_a_convolution_gives() -> None:
    y, weight, gate = drawn("image", 1, last=True)
    found = gated_map(y, weight, gate, spatial=True)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, gated_map(y.contiguous(), weight, gate, spatial=True), rtol=1e-13, atol=1e-13)


def test_a_gate_of_zero_gets_its_gradient() -> None:
    y, weight, _ = drawn("tokens", 1, last=False)
    gate = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    gated_map(y, weight, gate, spatial=False).sum().backward()
    assert gate.grad is not None
    torch.testing.assert_close(gate.grad, torch.nn.functional.linear(y, weight).sum().detach().reshape(1), rtol=1e-13, atol=1e-13)


def test_a_value_that_needs_no_gradient_gets_none() -> None:
    y, weight, gate = drawn("tokens", 1, last=False)
    gated_map(y.detach(), weight, gate, spatial=False).sum().backward()
    assert gate.grad is not None
    assert y.grad is None


def test_what_is_kept_for_the_way_back_holds_no_map_of_the_weights_size_but_the_weight() -> None:
    """The value, the weight and the gate, which are there anyway."""
    y, weight, gate = drawn("tokens", 1, last=False)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        gated_map(y, weight, gate, spatial=False)
    assert {tensor.data_ptr() for tensor in kept} == {y.data_ptr(), weight.data_ptr(), gate.data_ptr()}


@pytest.mark.parametrize(("form", "kernel", "last"), CASES)
def test_under_autocast_gradients_have_the_dtypes_of_what_they_are_of(form: str, kernel: int, last: bool) -> None:
    y, weight, gate = (tensor.float().detach() for tensor in drawn(form, kernel, last=last))
    y.requires_grad_()
    gate.requires_grad_()
    exact = torch.autograd.grad(gated_map(y, weight, gate, spatial=form == "image").sum(), (y, gate))
    with torch.autocast("cpu", torch.bfloat16):
        out = gated_map(y, weight, gate, spatial=form == "image")
    assert out.dtype is torch.bfloat16
    found = torch.autograd.grad(out.sum(), (y, gate))
    assert [tensor.dtype for tensor in found] == [torch.float32, torch.float32]
    for mine, theirs in zip(found, exact, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0.03, atol=0.03 * float(theirs.abs().max()))


def test_it_can_be_compiled_in_one_piece() -> None:
    y, weight, gate = drawn("tokens", 1, last=False)

    def of(y: Tensor, gate: Tensor) -> Tensor:
        return gated_map(y, weight, gate, spatial=False).square().sum()

    compiled = torch.compile(of, backend="aot_eager", fullgraph=True)
    for mine, theirs in zip(torch.autograd.grad(compiled(y, gate), (y, gate)), torch.autograd.grad(of(y, gate), (y, gate)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-13, atol=1e-13)
