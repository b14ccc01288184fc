"""The authors' own values, repeated through the public API: features, gradients, regularizers."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from graphnas.gates.entropy import Entropy
from graphnas.gates.l1 import L1

SHARED = Path(__file__).resolve().parents[3] / "shared"
FILES = ["sigmoid", "sigmoid_a2p_removed", "batchnorm_relu"]
pytestmark = pytest.mark.skipif(not (SHARED / "golden").is_dir(), reason="the golden files lie beside the checkout, and are not there")


@pytest.mark.parametrize("name", FILES)
def test_features_and_gradients(name: str) -> None:
    check = runpy.run_path(str(SHARED / "acceptance" / "golden.py"))["check"]
    assert check(str(SHARED / "golden" / f"{name}.safetensors")) is True


@pytest.mark.parametrize("name", FILES)
def test_regularizers(name: str) -> None:
    with safe_open(SHARED / "golden" / f"{name}.safetensors", "pt") as file:
        meta: dict[str, Any] = json.loads(file.metadata()["golden"])
        mask = file.get_tensor("edges/mask").bool()
        gates = {key: file.get_tensor(f"alpha/{key}")[mask].sigmoid() for key in ("aux_to_primary", "primary_to_aux")}
    expected = meta["regulariser"]
    l1 = L1(strength=expected["l1_weight"], ramp=tuple(expected["l1_period"]))
    entropy = Entropy(strength=expected["entropy_weight"], ramp=tuple(expected["entropy_period"]))
    for step, (wanted_entropy, wanted_l1) in zip(expected["steps"], expected["entropy_and_l1"], strict=True):
        progress = step / meta["total_steps"]
        assert float(entropy(gates["primary_to_aux"].split(1), progress)) == pytest.approx(wanted_entropy, rel=1e-5, abs=1e-12)
        assert float(l1(gates["aux_to_primary"].split(1), progress)) == pytest.approx(wanted_l1, rel=1e-5, abs=1e-12)


@pytest.mark.slow
def test_networks_drop_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["drop_in.py"])
    cases = runpy.run_path(str(SHARED / "acceptance" / "drop_in.py"))
    torch.manual_seed(0)
    assert cases["CASES"]
    for name in cases["CASES"]:
        cases["one"](name)
