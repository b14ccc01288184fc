"""What is exported runs without graphnas and says what the artifact's network says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import graphnas as gn
from graphnas.cli.main import cli
from graphnas.compiler import infer, lower
from graphnas.compiler.build import spec_branch
from graphnas.errors import ArtifactError
from graphnas.export import interchange
from graphnas.export.interchange import FORMATS, Format, export
from graphnas.graph.types import Ids
from graphnas.prune import prune
from graphnas.spec import NetworkSpec, parse_spec
from tests.export.test_artifacts import of_spec

IMAGES = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def artifact_of(branch: gn.Branch, folder: Path) -> Path:
    net = gn.weave({"p": branch}, primary="p", space=gn.load_spec("single-task"))
    return gn.save(prune(net), folder)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return artifact_of(of_spec(), tmp_path / "artifact")


def test_pt2_is_the_network_for_any_number_of_samples(artifact: Path, tmp_path: Path) -> None:
    found = export(artifact, tmp_path / "new" / "net.pt2", "pt2")
    assert (found.file, found.format, found.difference) == (tmp_path / "new" / "net.pt2", "pt2", 0.0)
    assert torch.equal(torch.export.load(found.file).module()(image=IMAGES), gn.load(artifact)(IMAGES))
    assert [file.name for file in found.file.parent.iterdir()] == ["net.pt2"]


def test_onnx_runs_elsewhere(artifact: Path, tmp_path: Path) -> None:
    found = export(artifact, tmp_path / "net.onnx", "onnx")
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(found.file), providers=["CPUExecutionProvider"])
    [said] = session.run(None, {"image": IMAGES.numpy()})
    np.testing.assert_allclose(said, gn.load(artifact)(IMAGES).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert found.relative < 1e-5


class Mine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.second(self.first(image).relu())


@pytest.mark.parametrize("kind", FORMATS)
def test_a_class_of_the_users_own(kind: Format, tmp_path: Path) -> None:
    module = Mine()
    folder = artifact_of(gn.Branch.from_module(module, taps={"s": "first"}, example=IMAGES[:2]), tmp_path / "artifact")
    assert export(folder, tmp_path / f"net.{kind}", kind, into=Mine()).relative < 1e-5


def test_ids_are_whole_numbers(tmp_path: Path) -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(10, 4)
            self.out = nn.Linear(4, 2)

        def forward(self, ids: Tensor) -> Tensor:
            return self.out(self.words(ids)).mean(1)

    gn.register_network("text", Text)
    nodes, taps = {"net": {"op": "text"}}, {"s": "net.words"}
    spec = parse_spec({"kind": "network", "inputs": {"ids": "ids[7]"}, "nodes": nodes, "outputs": "net", "taps": taps})
    assert isinstance(spec, NetworkSpec)
    graph = infer(spec, {"ids": Ids(7)})
    folder = artifact_of(spec_branch(spec, graph, lower(spec, graph)), tmp_path / "artifact")
    assert export(folder, tmp_path / "net.pt2", "pt2").difference == 0.0


def test_what_differs_is_not_left_there(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.pt2").write_bytes(b"before")
    run = interchange._WAYS["pt2"][1]
    monkeypatch.setitem(
        interchange._WAYS, "pt2", (interchange._WAYS["pt2"][0], lambda file, example: [value + 1 for value in run(file, example)])
    )
    with pytest.raises(ArtifactError) as caught:
        export(artifact, tmp_path / "net.pt2", "pt2")
    first, fix = str(caught.value).splitlines()
    assert first.startswith(f"the pt2 file of {artifact} differs from its network by 1, ")
    assert fix == "  fix: another format: --format onnx"
    assert (tmp_path / "net.pt2").read_bytes() == b"before"


def test_what_torch_cannot_export_is_told(tmp_path: Path) -> None:
    class Peeking(Mine):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image) * (2 if float(image.sum()) > 0 else 1)

    folder = artifact_of(gn.Branch.from_module(Mine(), taps={"s": "first"}, example=IMAGES[:2]), tmp_path / "artifact")
    with pytest.raises(ArtifactError) as caught:
        export(folder, tmp_path / "net.pt2", "pt2", into=Peeking())
    assert str(caught.value).startswith(f"the network of {folder} can't be exported: ")
    assert str(caught.value).endswith("\n  fix: use the artifact itself: gn.load, or your own class with its weights")
    assert not (tmp_path / "net.pt2").exists()


def test_a_missing_package_is_named(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(interchange.importlib, "import_module", missing)
    with pytest.raises(ArtifactError) as caught:
        export(artifact, tmp_path / "net.onnx", "onnx")
    assert str(caught.value) == (
        f"{artifact} can't be written as ONNX: the package onnx is not installed\n  fix: pip install 'graphnas[onnx]'"
    )


def test_the_command(artifact: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["export", str(artifact), "--format", "pt2", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"file": str(artifact / "model.pt2"), "format": "pt2", "difference": 0.0, "relative": 0.0}
    refused = CliRunner().invoke(cli, ["export", str(artifact), "--format", "pt3"])
    assert refused.exit_code == 2
    assert refused.stderr == "graphnas export: unknown format 'pt3'\n  fix: did you mean 'pt2'?\n"
