"""Devices and number formats."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphnas.errors import SpecError
from graphnas.search.precision import find_device, make_precision


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert find_device("auto") == torch.device(device)


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(SpecError) as caught:
        find_device("cpux")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("runtime.device: no device 'cpux': ")
    assert lines[1:] == ["  fix: device: auto"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(SpecError, match=r"^runtime\.device: no device 'cuda:0': .*\n  fix: device: auto$"):
        make_precision("cuda:0", "float32")


def test_forward_passes_run_in_the_format_and_weights_stay_float32() -> None:
    layer, x = nn.Linear(3, 2), torch.randn(4, 3)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        precision = make_precision("cpu", name)
        with precision.autocast():
            assert layer(x).dtype == dtype
        assert layer.weight.dtype == torch.float32
        assert (precision.scaler is not None) == (name == "float16")
