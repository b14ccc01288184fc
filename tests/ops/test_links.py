"""Every link operation over all pairs of types: shapes, costs, gates, gains, and what can't be linked."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from graphnas.graph.types import Ids, Image, Tokens, ValueType, Vector
from graphnas.ops.base import LinkModule, LinkOperation, TypeRuleError
from graphnas.registry import link_operations
from graphnas.schema import Named, Spec

NAMES = link_operations.names()
IMAGE, WIDER, COARSE = Image(4, 8, 12), Image(6, 8, 12), Image(4, 4, 6)
PREFIXED, PATCHES, UNKNOWN = Tokens(97, 4, 1, (8, 12)), Tokens(24, 6, 0, (4, 6)), Tokens(17, 4)
TYPES: list[ValueType] = [IMAGE, WIDER, COARSE, PREFIXED, PATCHES, UNKNOWN, Vector(4), Vector(7), Ids(3)]


class Rule(Spec):
    operation: Annotated[Spec, Named(link_operations, "op")]


def build(name: str, **fields: Any) -> LinkOperation:
    operation = Rule.model_validate({"operation": {"op": name, **fields}}).operation
    assert isinstance(operation, LinkOperation)
    return operation


def linked(name: str, source: ValueType, destination: ValueType, **fields: Any) -> LinkModule:
    module = build(name, **fields).build(source, destination)
    assert module is not None
    return module


def value(of: ValueType, batch: int = 2) -> Tensor:
    return torch.randn(batch, *of.shape)


def can_link(name: str, source: ValueType, destination: ValueType) -> bool:
    spatial = isinstance(source, Image | Tokens) and isinstance(destination, Image | Tokens)
    if name == "identity" and source == destination:
        return True
    if UNKNOWN in (source, destination):
        return source == destination and name != "conv3x3"
    if name == "scale" and width(source) != width(destination):
        return False
    return spatial or (isinstance(source, Vector) and isinstance(destination, Vector) and name != "conv3x3")


def width(of: ValueType) -> int:
    return of.channels if isinstance(of, Image) else of.shape[-1]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
@pytest.mark.parametrize(("source", "destination"), list(itertools.product(TYPES, TYPES)))
def test_all_pairs_of_types(name: str, source: ValueType, destination: ValueType) -> None:
    operation = build(name)
    if not can_link(name, source, destination):
        with pytest.raises(TypeRuleError):
            operation.build(source, destination)
        return
    module = operation.build(source, destination)
    assert module is not None
    torch.manual_seed(0)
    for parameter in module.parameters():  # zero-initialized links hide errors
        torch.nn.init.normal_(parameter)
    for batch in (1, 3):
        x, y = value(source, batch), value(destination, batch)
        gate = torch.tensor(0.3, requires_grad=True)
        result = module(x, gate, y)
        assert result.shape == y.shape
        assert_close(result, 0.3 * module(x, 1.0, y))
        result.sum().backward()
        assert gate.grad is not None
    with FlopCounterMode(display=False) as counter:
        module(value(source), 0.3, value(destination))
    assert operation.macs(source, destination) * 2 * 2 == counter.get_total_flops()


def test_none_carries_nothing() -> None:
    operation = build("none")
    assert operation.build(IMAGE, Vector(3)) is None
    assert operation.macs(IMAGE, Vector(3)) == 0


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str) -> None:
    for fields in (
        {},
        {"initial": "kaiming"},
        {"initial": 0.5, "resize": "nearest", "prefix": 1},
        {"resize": "area"},
        {"initial": 0.9, "per": "tap"},
    ):
        known = type(build(name)).model_fields
        if set(fields) <= set(known) and ("per" in known) == ("per" in fields or not fields):
            operation = build(name, **fields)
            assert Rule.model_validate({"operation": operation.model_dump(mode="json")}).operation == operation


def test_conv1x1_on_tokens_is_one_linear_map_of_every_token() -> None:
    module = linked("conv1x1", UNKNOWN, UNKNOWN, initial="kaiming")
    weight = module.get_parameter("weight")
    x = value(UNKNOWN)
    assert weight.shape == (4, 4)
    assert [name for name, _ in module.named_parameters()] == ["weight"]
    assert_close(module(x, 0.5, x), 0.5 * F.linear(x, weight))


def test_conv1x1_on_images() -> None:
    module = linked("conv1x1", IMAGE, WIDER, initial="kaiming")
    weight = module.get_parameter("weight")
    x = value(IMAGE)
    assert weight.numel() == 6 * 4
    assert_close(module(x, 2.0, value(WIDER)), F.conv2d(x, 2 * weight[:, :, None, None]))


def test_scale_multiplies_each_channel_or_all_alike() -> None:
    for source, shape in ((IMAGE, (4, 1, 1)), (PREFIXED, (4,)), (Vector(4), (4,))):
        x, each, all_alike = (
            value(source),
            linked("scale", source, source, initial=0.9),
            linked("scale", source, source, initial=-2, per="tap"),
        )
        assert [(name, tuple(part.shape)) for name, part in each.named_parameters()] == [("factor", (4,))]
        assert [(name, tuple(part.shape)) for name, part in all_alike.named_parameters()] == [("factor", (1,))]
        assert_close(each(x, 0.5, x), 0.45 * x)
        assert_close(all_alike(x, 0.5, x), -x)
        assert_close(each.weight_norm().item(), 0.9)
        assert_close(all_alike.weight_norm().item(), 2.0)
        with torch.no_grad():
            each.get_parameter("factor").copy_(torch.arange(4.0))
        assert_close(each(x, 2.0, x), 2 * torch.arange(4.0).reshape(shape) * x)


def test_scale_takes_a_value_to_another_resolution_but_not_to_another_width() -> None:
    x = value(COARSE)
    module = linked("scale", COARSE, IMAGE, initial=3)
    assert_close(module(x, 1.0, value(IMAGE)), 3 * F.interpolate(x, size=(8, 12), mode="bilinear"))
    with pytest.raises(TypeRuleError) as caught:
        build("scale").build(IMAGE, WIDER)
    assert str(caught.value) == "scale joins values of the same width, got image[4, 8, 12] and image[6, 8, 12]"
    assert caught.value.fix == "op: conv1x1"


@given(initial=st.floats(-3, 3, width=32), source=st.sampled_from([IMAGE, PREFIXED]), wide=st.integers(1, 9))
def test_initial_is_that_many_times_the_identity(initial: float, source: ValueType, wide: int) -> None:
    destination = Image(wide, 8, 12) if isinstance(source, Image) else Tokens(97, wide, 1, (8, 12))
    for name in ("conv1x1", "conv3x3"):
        module = linked(name, source, destination, initial=initial)
        assert_close(module.weight_norm().item(), abs(initial), rtol=1e-6, atol=1e-12)
    x, y = torch.rand(1, *source.shape), torch.rand(1, *destination.shape)
    common = min(wide, 4)
    result = linked("conv1x1", source, destination, initial=initial)(x, 1.0, y)
    if isinstance(source, Image):
        assert_close(result[:, :common], initial * x[:, :common])
        assert not result[:, common:].any()
    else:
        assert_close(result[..., :common], initial * x[..., :common])


def test_gain_of_zero_has_a_finite_slope() -> None:
    for name in ("conv1x1", "conv3x3"):
        module = linked(name, IMAGE, IMAGE, initial=0)
        gain = module.weight_norm()
        gain.backward()
        assert gain.item() == 0
        slope = module.get_parameter("weight").grad
        assert slope is not None
        assert not slope.any()


def test_gain_of_the_identity() -> None:
    assert linked("identity", IMAGE, COARSE).weight_norm().item() == 1
    assert linked("identity", IMAGE, WIDER).weight_norm().item() == pytest.approx(1)
    assert not linked("identity", IMAGE, COARSE).state_dict()  # no parameters, no keys


def test_image_to_tokens_resizes_to_the_patch_grid_and_leaves_prefix_tokens_zero() -> None:
    module = linked("identity", COARSE, PREFIXED)
    x = value(COARSE)
    result = module(x, 1.0, value(PREFIXED))
    assert not result[:, 0].any()
    grown = F.interpolate(x, size=(8, 12), mode="bilinear", align_corners=False)
    assert_close(result[:, 1:], grown.flatten(2).transpose(1, 2))


def test_tokens_to_image_drops_prefix_tokens() -> None:
    x = value(PREFIXED)
    result = linked("identity", PREFIXED, IMAGE)(x, 1.0, value(IMAGE))
    assert_close(result, x[:, 1:].transpose(1, 2).reshape(2, 4, 8, 12))


def test_nearest() -> None:
    x = value(COARSE)
    result = linked("identity", COARSE, IMAGE, resize="nearest")(x, 1.0, value(IMAGE))
    assert torch.equal(result, F.interpolate(x, size=(8, 12), mode="nearest"))


def test_area_is_the_mean_of_what_a_pixel_covers() -> None:
    x = value(Image(4, 8, 12))
    result = linked("identity", IMAGE, COARSE, resize="area")(x, 1.0, value(COARSE))
    assert_close(result, x.unflatten(3, (6, 2)).unflatten(2, (4, 2)).mean((3, 5)))
    module = linked("conv1x1", IMAGE, COARSE, resize="area", initial="kaiming")
    weight = module.get_parameter("weight")
    assert_close(module(x, 2.0, value(COARSE)), 2 * torch.einsum("nihw,oi->nohw", result, weight))


@pytest.mark.parametrize("grid", [(3, 4), (4, 3)])
def test_a_coarse_image_does_not_blur_the_grid_of_tokens(grid: tuple[int, int]) -> None:
    """Of 12 patches beside an image that measures 2 x 2, whichever way the network's input lay."""
    tokens, coarse = Tokens(13, 4, 1, grid), Image(4, 2, 2)
    x, y = value(tokens), value(coarse)
    as_image = x[:, 1:].transpose(1, 2).reshape(2, 4, *grid)
    there = F.interpolate(as_image, size=(2, 2), mode="bilinear")
    assert_close(linked("identity", tokens, coarse)(x, 1.0, y), there)
    back = F.interpolate(y, size=grid, mode="bilinear").flatten(2).transpose(1, 2)
    assert_close(linked("identity", coarse, tokens)(y, 1.0, x), F.pad(back, (0, 0, 1, 0)))


def test_a_map_runs_at_the_smaller_resolution() -> None:
    operation = build("conv1x1")
    assert operation.macs(COARSE, Image(6, 8, 12)) == 4 * 6 * 4 * 6
    assert operation.macs(Image(6, 8, 12), COARSE) == 4 * 6 * 4 * 6


@pytest.mark.parametrize(("source", "destination"), [(IMAGE, COARSE), (COARSE, PREFIXED), (PREFIXED, COARSE), (PREFIXED, PATCHES)])
def test_other_sizes_at_run_time(source: ValueType, destination: ValueType) -> None:
    """Twice as high and wide as the types say."""

    def larger(of: ValueType) -> Tensor:
        if isinstance(of, Image):
            return torch.randn(2, of.channels, 2 * of.height, 2 * of.width)
        assert isinstance(of, Tokens)
        return torch.randn(2, of.prefix + 4 * (of.length - of.prefix), of.width)

    y = larger(destination)
    assert linked("conv1x1", source, destination)(larger(source), 1.0, y).shape == y.shape


def test_an_image_at_the_other_end_tells_the_grid_of_tokens() -> None:
    module = linked("identity", Tokens(48, 4, 0, (8, 6)), Image(4, 8, 6))
    x = torch.randn(1, 35, 4)  # from an image of 5 x 7 patches, though the types say 4 : 3
    result = module(x, 1.0, torch.randn(1, 4, 5, 7))
    assert_close(result, x.transpose(1, 2).reshape(1, 4, 5, 7))


def test_tokens_of_unknown_proportions_are_refused_at_run_time() -> None:
    module = linked("identity", Tokens(48, 4, 0, (8, 6)), Tokens(12, 4, 0, (4, 3)))
    with pytest.raises(ValueError, match=r"^35 patches are no grid of 4 : 3, the proportions that the network was built for$"):
        module(torch.randn(1, 35, 4), 1.0, torch.randn(1, 12, 4))


def test_prefix_names_the_tokens_that_the_type_does_not() -> None:
    module = linked("identity", UNKNOWN, COARSE, prefix=1)
    x, y = value(UNKNOWN), value(COARSE)
    assert_close(module(x, 1.0, y), F.interpolate(x[:, 1:].transpose(1, 2).reshape(2, 4, 4, 4), size=(4, 6), mode="bilinear"))


@pytest.mark.parametrize(
    ("name", "source", "destination", "fields", "message", "field", "fix"),
    [
        (
            "conv1x1",
            UNKNOWN,
            IMAGE,
            {},
            "the patch grid of tokens[17, 4] is unknown",
            None,
            "name it at the tap: prefix: TOKENS, grid: [ROWS, COLUMNS]",
        ),
        ("conv1x1", UNKNOWN, IMAGE, {"prefix": 2}, "tokens[17, 4] less 2 prefix tokens is no square of patches", "prefix", None),
        ("conv1x1", Ids(3), IMAGE, {}, "no link from ids[3] to image[4, 8, 12]", None, "link images, tokens or vectors"),
        ("identity", Vector(3), IMAGE, {}, "no link from vector[3] to image[4, 8, 12]", None, "link taps of the same kind"),
        ("conv3x3", Vector(4), Vector(4), {}, "no spatial link from vector[4] to vector[4]", None, "op: conv1x1"),
    ],
)
def test_what_can_not_be_linked(
    name: str, source: ValueType, destination: ValueType, fields: dict[str, Any], message: str, field: str | None, fix: str | None
) -> None:
    with pytest.raises(TypeRuleError) as caught:
        build(name, **fields).build(source, destination)
    assert (str(caught.value), caught.value.field, caught.value.fix) == (message, field, fix)


@pytest.mark.parametrize(
    ("fields", "loc", "message", "fix"),
    [
        ({"op": "conv_1x1"}, ("op",), "unknown link operation 'conv_1x1'", "did you mean 'conv1x1'?"),
        (
            {"op": "conv1x1", "initial": "kaimin"},
            ("initial",),
            "initial is a number (that many times the identity) or kaiming, got 'kaimin'",
            "initial: 0",
        ),
        ({"op": "conv1x1", "resize": "cubic"}, ("resize",), "Input should be 'bilinear', 'nearest' or 'area'", None),
        ({"op": "identity", "initial": 1}, ("initial",), "unknown field 'initial'", "one of op, prefix, resize"),
        ({"op": "none", "resize": "nearest"}, ("resize",), "unknown field 'resize'", "one of op"),
    ],
)
def test_bad_parameters(fields: dict[str, Any], loc: tuple[str, ...], message: str, fix: str | None) -> None:
    with pytest.raises(ValidationError) as caught:
        Rule.model_validate({"operation": fields})
    [error] = caught.value.errors()
    assert (error["loc"], error["msg"], error.get("ctx", {}).get("fix")) == (("operation", *loc), message, fix)
