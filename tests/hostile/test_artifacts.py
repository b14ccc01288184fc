"""Artifacts from strangers: whatever the files say, weights are loaded that fit, or an error says what is wrong; nothing is run."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import graphnas as gn
from graphnas.errors import ArtifactError
from graphnas.prune.certificate import spec_sha256, weights_sha256
from tests.hostile.mutations import mutated, mutated_bytes

MODEL, SPEC, CERTIFICATE = "model.safetensors", "spec.json", "certificate.json"
Change = Callable[[dict[str, Any]], None]
REGISTER = "register what it names first: --plugin MODULE, or import the module that calls gn.register_operation or gn.register_network"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of a small network."""
    network = {
        "kind": "network",
        "inputs": {"image": "image[3, H, W]"},
        "nodes": {"a": {"op": "conv2d", "out_channels": 4}, "b": "batch_norm", "c": {"op": "conv2d", "out_channels": 2}},
        "outputs": {"prediction": "c"},
        "taps": {"s": "a"},
    }
    spec = gn.parse_spec(
        {
            "kind": "search",
            "task_pair": {
                "kind": "task_pair",
                "primary": "depth",
                "sources": {"toy": {"layout": "python"}},
                "inputs": {"image": "image"},
                "tasks": {"depth": {"type": "semantic_segmentation", "key": "depth", "classes": 2}},
            },
            "networks": {"*": {"use": network}},
            "space": {"kind": "search_space", "links": []},
            "training": {"epochs": 1, "batch_size": 1, "optimizers": {"weights": {"type": "sgd", "lr": 0.1}}},
        }
    )
    assert isinstance(spec, gn.SearchSpec)
    from graphnas.compiler import build
    from graphnas.graph.types import Image

    return gn.save(gn.prune(build(spec, {"image": Image(3, 8, 8)})), tmp_path_factory.mktemp("whole") / "artifact")


@pytest.fixture
def artifact(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "artifact")
    return tmp_path / "artifact"


def certify_again(artifact: Path) -> None:
    """Write the hashes that a forger would."""
    certificate, spec = json.loads((artifact / CERTIFICATE).read_text()), json.loads((artifact / SPEC).read_text())
    certificate |= {"weights_sha256": weights_sha256(load_file(artifact / MODEL)), "spec_sha256": spec_sha256(spec["network"])}
    (artifact / CERTIFICATE).write_text(json.dumps(certificate))


def header(changes: dict[str, Any], *, length: int | None = None, data: bytes = b"\x00" * 64) -> bytes:
    text = json.dumps(changes).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


F32 = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        header({}, length=10**9),
        header({"a": {**F32, "data_offsets": [0, 2**62]}}),
        header({"a": {**F32, "data_offsets": [2**63 - 1, 2**63]}}),
        header({"a": {**F32, "data_offsets": [16, 0]}}),
        header({"a": F32, "b": F32}),
        header({"a": {**F32, "shape": [2**40, 2**40]}}),
        header({"a": {**F32, "shape": [-1]}}),
        header({"a": {**F32, "dtype": "PICKLE"}}),
        header({"a": {**F32, "dtype": "F64"}}),
        header({"a": [1, 2]}),
        header({"__metadata__": {"a": {"b": 1}}}),
        struct.pack("<Q", 4) + b"[[[[",
        header({"a" * 200_000: F32}),
        b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.",  # a pickle
    ],
)
def test_crafted_headers(content: bytes, artifact: Path) -> None:
    (artifact / MODEL).write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        gn.load(artifact)
    assert str(artifact / MODEL) in str(caught.value)
    assert caught.value.problems[0].fix


def test_metadata_of_a_hundred_megabytes(artifact: Path) -> None:
    (artifact / MODEL).write_bytes(header({"__metadata__": {"x": "x" * 100_000_000}, "a": F32}))
    with pytest.raises(ArtifactError, match="is no whole safetensors file"):
        gn.load(artifact)


def test_an_artifact_refers_to_nothing_outside_of_it(artifact: Path) -> None:
    description = json.loads((artifact / SPEC).read_text())
    (artifact.parent / "outside.yaml").write_text(json.dumps(description["network"]))
    description["network"]["nodes"]["a"] = {"op": "network", "use": "../outside.yaml"}
    (artifact / SPEC).write_text(json.dumps(description))
    certify_again(artifact)
    with pytest.raises(ArtifactError) as caught:
        gn.load(artifact)
    assert str(caught.value) == (
        f"{artifact / SPEC} can't be built: nodes.a.use: '../outside.yaml' is outside of what is read, where nothing may be named\n"
        "  fix: the content itself\n  fix: copy or make the artifact again"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("a.weight"), "1 missing: a.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "1 unknown: extra"),
        (lambda state: state.update({"a.weight": torch.zeros(4, 3, 5, 5)}), "1 of another shape: a.weight [4, 3, 5, 5] for [4, 3, 3, 3]"),
    ],
)
def test_weights_that_do_not_fit(change: Change, message: str, artifact: Path) -> None:
    state = load_file(artifact / MODEL)
    change(state)
    save_file(state, artifact / MODEL)
    certify_again(artifact)
    with pytest.raises(ArtifactError) as caught:
        gn.load(artifact)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("operation", "fix"),
    [
        ({"op": "evil.module.Class"}, REGISTER),
        ({"op": "__import__('os').system('true')"}, REGISTER),
        ({"op": "network", "use": "../../../etc/passwd"}, None),
    ],
)
def test_what_is_not_registered_is_named_and_not_run(operation: dict[str, Any], fix: str | None, artifact: Path) -> None:
    description = json.loads((artifact / SPEC).read_text())
    description["network"]["nodes"]["a"] = operation
    (artifact / SPEC).write_text(json.dumps(description))
    certify_again(artifact)
    with pytest.raises(ArtifactError) as caught:
        gn.load(artifact)
    assert str(artifact / SPEC) in str(caught.value)
    if fix is not None:
        assert str(caught.value).endswith(f"fix: {fix}")
        assert str(operation["op"]) in str(caught.value)


def described(artifact: Path, change: Change) -> str:
    """What is said of an artifact with another description, whose hash a forger has mended."""
    description = json.loads((artifact / SPEC).read_text())
    change(description)
    (artifact / SPEC).write_text(json.dumps(description))
    certify_again(artifact)
    with pytest.raises(ArtifactError) as caught:
        gn.load(artifact)
    return str(caught.value).replace(str(artifact), "ARTIFACT")


def test_a_third_party_operation_is_named_with_how_to_register_it(artifact: Path) -> None:
    found = described(artifact, lambda it: it["network"]["nodes"].update(a={"op": "their_convolution", "width": 4}))
    first, *_, last = found.split("\n")
    assert first == "ARTIFACT/spec.json can't be built: nodes.a.op: unknown operation 'their_convolution'"
    assert last == f"  fix: {REGISTER}"


@pytest.mark.parametrize("width", [1000, 10**12, 10**30])
def test_a_network_that_the_weights_are_far_too_few_for_is_not_made(width: int, artifact: Path) -> None:
    parameters = width * 3 * 9 + width + 2 * width + 2 * width * 9 + 2
    held = sum(value.numel() for value in load_file(artifact / MODEL).values())
    assert described(artifact, lambda it: it["network"]["nodes"].update(a={"op": "conv2d", "out_channels": width})) == (
        f"ARTIFACT/spec.json describes a network of {parameters:,} parameters, model.safetensors holds {held:,} numbers\n"
        "  fix: copy or make the artifact again"
    )


def test_a_description_that_repeats_without_end(artifact: Path) -> None:
    assert described(artifact, lambda it: it["network"]["nodes"].update(r={"op": "relu", "repeat": 10**6})) == (
        "ARTIFACT/spec.json can't be built: nodes.r.repeat: the network has 1,000,003 nodes, repetitions and networks inside it "
        "spelled out; the limit is 100,000\n  fix: fewer, or --max-nodes 1000003 (in Python: with gn.limits(max_nodes=1_000_003))\n"
        "  fix: copy or make the artifact again"
    )


@pytest.mark.parametrize("model", ["/somebodys/folder", "somebody/network"])
def test_no_folder_or_repository_is_asked_what_a_network_is(model: str, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    asked: list[str] = []
    monkeypatch.setattr("graphnas.ops.hf_hub.read_config", lambda model, revision: asked.append(model))
    assert described(artifact, lambda it: it["network"]["nodes"].update(a={"op": "huggingface", "model": model})) == (
        f"ARTIFACT/spec.json can't be built: nodes.a.model: the description of {model} is outside of what is read\n"
        "  fix: architecture and config beside it\n  fix: copy or make the artifact again"
    )
    assert asked == []


@pytest.mark.parametrize("name", [SPEC, CERTIFICATE])
def test_a_description_of_a_hundred_megabytes(name: str, artifact: Path) -> None:
    with (artifact / name).open("r+b") as file:
        file.truncate(100_000_000)  # a hole: nothing is written
    with pytest.raises(ArtifactError) as caught:
        gn.load(artifact)
    assert str(caught.value) == f"{artifact / name}: larger than 64 MiB, which none is\n  fix: copy or make the artifact again"


def test_random_changes(artifact: Path, whole: Path) -> None:
    """Of every file, with hashes that fit: the network, or an error; never anything else."""
    chance = random.Random(0)
    description = json.loads((whole / SPEC).read_text())
    for number in range(120):
        shutil.copytree(whole, artifact, dirs_exist_ok=True)
        if number % 3 == 0:
            (artifact / MODEL).write_bytes(mutated_bytes((whole / MODEL).read_bytes()[:600], chance) + (whole / MODEL).read_bytes()[600:])
        elif number % 3 == 1:
            (artifact / SPEC).write_text(json.dumps(mutated(description, chance)))
        else:
            (artifact / CERTIFICATE).write_bytes(mutated_bytes((whole / CERTIFICATE).read_bytes(), chance))
        with contextlib.suppress(Exception):  # a forger fails too; what is there is loaded all the same
            certify_again(artifact)
        with contextlib.suppress(gn.GraphNASError):
            assert isinstance(gn.load(artifact), torch.nn.Module)
