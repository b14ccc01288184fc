"""Weights that networks start from: what ``compile`` and ``search`` tell of them, and refusals at their line with exit status 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import graphnas as gn

Run = Callable[..., tuple[int, str, str]]
USE = 'networks: {"*": {use: network.yaml}'


def start_from(text: str) -> None:
    """Let the network of normals start from something."""
    search = Path("search.yaml")
    search.write_text(search.read_text().replace(USE, f"networks:\n  normals: {{use: network.yaml, {text}}}\n  seg: {{use: network.yaml"))


@pytest.fixture
def single(folder: Path) -> Path:
    """Weights of the network of normals, without its head."""
    state = gn.compile(gn.load_spec("search.yaml")).get_submodule("branches.normals").state_dict()
    file = folder / "single.safetensors"
    save_file({name: value.clone() for name, value in state.items() if not name.startswith("head")}, file)
    return file


def test_what_matched_is_told(single: Path, graphnas: Run, graphnas_json: Callable[..., Any]) -> None:
    start_from('start_from: single.safetensors, allow_missing: ["head.**"]')
    status, out, err = graphnas("compile", "search.yaml")
    state = gn.compile(gn.load_spec("search.yaml")).get_submodule("branches.normals").state_dict()
    new = ", ".join([name for name in state if name.startswith("head")][:10])
    told = f"4 of {len(state)} tensors from single.safetensors; new: {new}, ... ({len(state) - 4} in all)"
    assert (status, err) == (0, "")
    assert f"\nweights\n  normals: {told}\n" in out
    assert graphnas_json("compile", "search.yaml")["weights"] == {"normals": [told]}
    status, out, err = graphnas("search", "search.yaml", "--out", "run")
    assert status == 0
    assert f"normals: {told}\n" in out + err


def test_weights_that_do_not_fit(single: Path, graphnas: Run) -> None:
    start_from("start_from: single.safetensors")
    status, out, err = graphnas("compile", "search.yaml")
    assert (status, out) == (2, "")
    assert err.startswith(f"search.yaml:4:44: networks.normals.start_from: {single} does not fit the network: ")
    assert err.endswith("\n  fix: weights of the same network; or allow_missing: [head.**]\n")


def test_a_pickle(folder: Path, graphnas: Run) -> None:
    torch.save({}, "single.pth")
    start_from("start_from: single.pth")
    status, out, err = graphnas("compile", "search.yaml")
    assert (status, out) == (2, "")
    head, _, line = err.partition("\n  fix: convert it where you trust it: python -c ")
    assert head == f"search.yaml:4:44: networks.normals.start_from: {folder}/single.pth is a pickle, which may run code and is never read"
    assert line.endswith(f" {folder}/single.pth {folder}/single.safetensors\n")


def test_a_missing_package(folder: Path, graphnas: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    network = Path("network.yaml")
    network.write_text(network.read_text().replace("{op: conv2d, out_channels: 4}", "{op: huggingface, architecture: vit}"))
    assert graphnas("compile", "network.yaml") == (
        2,
        "",
        "network.yaml:5:14: nodes.stem.op: huggingface needs transformers\n  fix: pip install graphnas[hf]\n",
    )
