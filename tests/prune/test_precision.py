"""Supernets whose precision is changed after they were woven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import graphnas as gn
from graphnas.compiler.build import spec_branch
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.graph.types import Image
from graphnas.spec import parse_spec
from tests.builders import IMAGE, INTO, OUT, randomize, space

NETWORK: dict[str, Any] = {
    "kind": "network",
    "inputs": {"image": "image[3, 6, 6]"},
    "nodes": {
        "a": {"op": "conv2d", "inputs": "image", "out_channels": 4},
        "b": {"op": "batch_norm", "inputs": "a"},
        "c": {"op": "conv2d", "inputs": "b", "out_channels": 2},
    },
    "outputs": {"prediction": "c"},
    "taps": {"s": ["a", "b"]},
}


def branch() -> gn.Branch:
    spec = parse_spec(NETWORK)
    assert isinstance(spec, gn.NetworkSpec)
    graph = infer(spec, {"image": Image(3, 6, 6)})
    return spec_branch(spec, graph, lower(spec, graph))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_pruned_network_is_certified_saved_and_loaded_in_it(dtype: torch.dtype, tmp_path: Path) -> None:
    net = randomize(gn.weave({"p": branch(), "q": branch()}, primary="p", space=space(INTO, OUT)).eval()).to(dtype)
    pruned = gn.prune(net, force=True)
    assert pruned.certificate.holds
    assert pruned.certificate.supernet_difference == 0.0
    expected = pruned.module(IMAGE.to(dtype))
    assert expected.dtype == dtype
    gn.save(pruned, tmp_path / "artifact")
    assert torch.equal(gn.load(tmp_path / "artifact")(IMAGE.to(dtype)), expected)
    assert net.recorded["p"].macs == pruned.certificate.macs
