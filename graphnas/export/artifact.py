"""An artifact: a folder with the pruned network's weights, its spec and its certificate. No pickle is written or read.

``model.safetensors`` holds a contiguous copy under every key of the network's ``state_dict``, so that tied and channels-last weights load
strictly too. ``spec.json`` says how to build the network again, where a spec or the registry can; ``certificate.json`` what was proven.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from graphnas.compiler.branch import Branch
from graphnas.compiler.build import copied, spec_branch
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.compiler.narrowing import is_mapping
from graphnas.compiler.torch_typed import save_file
from graphnas.compiler.weave import weave
from graphnas.compiler.weights import WEIGHTS, load_weights, read_weights
from graphnas.errors import ArtifactError, GraphNASError, RunError, Where
from graphnas.graph.graph import Graph
from graphnas.graph.types import parse_type
from graphnas.ops.opaque import without_published_weights
from graphnas.prune.certificate import spec_sha256, weights_sha256
from graphnas.prune.prune import Pruned, standing
from graphnas.spec import dump_spec, parse_spec
from graphnas.spec.network import NetworkSpec
from graphnas.spec.search_space import SearchSpaceSpec

SPEC, CERTIFICATE = "spec.json", "certificate.json"
_FORMAT = 1
_LARGEST_JSON = 64 << 20  # bytes
_MISSING_AT_MOST = 10  # times as many parameters as there are numbers are made, so that those that are missing can be named
_REGISTER = "register what it names first: --plugin MODULE, or import the module that calls gn.register_operation or gn.register_network"


def save(pruned: Pruned, folder: str | Path, *, task: Mapping[str, Any] | None = None) -> Path:
    """Write an artifact; nothing is changed on the disk before all of it could be written.

    Args:
        pruned: What ``prune`` returned.
        folder: Made if it is not there; an artifact in it is replaced.
        task: What a program needs to use the network: preprocessing of the inputs, decoding of the prediction (JSON-able).
    Returns:
        The folder.
    Raises:
        ArtifactError: The folder is a file.
        RunError: It can't be written.
    """
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in pruned.module.state_dict().items()}
    description = {
        "kind": "artifact",
        "version": _FORMAT,
        "graphnas": version("graphnas"),
        "torch": torch.__version__,
        "network": None if pruned.spec is None or pruned.kept is not None else dump_spec(pruned.spec),
        "keeps": pruned.keeps,
        "supernet": None if pruned.kept is None else pruned.kept.to_dict(),
        "inputs": {name: list(shape) for name, shape in pruned.example_shapes.items()},
        "task": dict(task) if task is not None else None,
    }
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise ArtifactError(f"{target} is a file", fix="name a folder")
    there = target.exists()
    try:
        target.mkdir(parents=True, exist_ok=True)
        _write_all(
            {
                target / WEIGHTS: partial(save_file, state),
                target / SPEC: partial(_write_json, description),
                target / CERTIFICATE: partial(_write_json, pruned.certificate.to_dict()),
            }
        )
    except BaseException as error:
        if not there:
            with suppress(OSError):
                target.rmdir()
        if not isinstance(error, (OSError, SafetensorError)):
            raise
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RunError(
            f"the artifact can't be written: {said}",
            where=Where(str(target)),
            fix="make room or allow writing there, and try again; an artifact that was there is whole",
        ) from error
    return target


def load(folder: str | Path, *, into: nn.Module | None = None, networks: Mapping[str, Branch] | None = None) -> nn.Module:
    """The network of an artifact, in eval mode.

    Args:
        folder: The artifact.
        into: A network of the user's own class to load the weights into, strictly; left out, it is built from the artifact's spec.
        networks: Task -> branch that stands for a network that no spec describes, where more than the primary's was kept; not changed.
    Raises:
        ArtifactError: Missing or corrupt files, weights that do not fit, or a network that no spec describes.
    """
    source = Path(folder)
    description = read_description(source)
    weights = read_weights(source)
    certificate = _read_json(source / CERTIFICATE)
    network = description.get("supernet") or description.get("network")
    hashes = {WEIGHTS: ("weights_sha256", weights_sha256(weights)), SPEC: ("spec_sha256", network and spec_sha256(network))}
    for name, (key, found) in hashes.items():
        if certificate.get(key) != found:
            raise ArtifactError(
                f"{source / name} is not what {CERTIFICATE} was written for: its hash differs", fix="copy or make the artifact again"
            )
    room = sum(value.numel() for value in weights.values())
    module = into if into is not None else _built(description, source, networks or {}, room)
    kinds = {value.dtype for value in weights.values() if value.is_floating_point()}
    if into is None and len(kinds) == 1:
        module.to(dtype=kinds.pop())
    load_weights(module, weights, source=str(source / WEIGHTS), fix="give the network that it was saved from")
    return module.eval()


def read_description(folder: str | Path) -> dict[str, Any]:
    """``spec.json`` of an artifact.

    Raises:
        ArtifactError: Missing, corrupt, or of a later format.
    """
    source = Path(folder)
    if not source.is_dir():
        raise ArtifactError(f"{source}: no such folder", fix="name the artifact's folder: RUN/artifact")
    description = _read_json(source / SPEC)
    if description.get("kind") != "artifact":
        raise ArtifactError(f"{source / SPEC} describes no artifact", fix="name the folder that graphnas search wrote: RUN/artifact")
    if description.get("version") != _FORMAT:
        raise ArtifactError(
            f"{source / SPEC} has format {description.get('version')}, this graphnas reads {_FORMAT}", fix="use the graphnas that wrote it"
        )
    return description


def read_certificate(folder: str | Path) -> dict[str, Any]:
    """``certificate.json`` of an artifact."""
    return _read_json(Path(folder) / CERTIFICATE)


def _built(description: Mapping[str, Any], source: Path, networks: Mapping[str, Branch], room: int) -> nn.Module:
    """The network, untrained; nothing is made that the weights, ``room`` numbers, are far too few for."""
    if (keeps := description.get("keeps", "primary")) != "primary":
        if description.get("supernet") is None:
            raise ArtifactError(
                f"{source} holds more than the primary's network (inference: {keeps}), and an earlier graphnas did not say what",
                fix="make it again: graphnas prune RUN",
            )
        return _whole(description["supernet"], source, networks)
    if description.get("network") is None:
        raise ArtifactError(
            f"{source} holds the weights of a module of your own class, which no spec describes",
            fix="gn.load(folder, into=YourClass(...)), or gn.register_network and name it in a spec",
        )
    with _explained(source), without_published_weights():
        network, graph = _inferred(description["network"], description["inputs"])
        if graph.parameters > _MISSING_AT_MOST * room:
            raise ArtifactError(
                f"{source / SPEC} describes a network of {graph.parameters:,} parameters, {WEIGHTS} holds {room:,} numbers",
                fix="copy or make the artifact again",
            )
        return lower(network, graph)


def _whole(description: Mapping[str, Any], source: Path, networks: Mapping[str, Branch]) -> nn.Module:
    """The part of a supernet that was kept."""
    with _explained(source), without_published_weights():
        found: dict[str, Branch] = {}
        for task, written in description["networks"].items():
            if task in networks:
                found[task] = copied(networks[task])
            elif written is not None:
                network, graph = _inferred(written, description["inputs"][task])
                found[task] = spec_branch(network, graph, lower(network, graph))
        if missing := [task for task in description["networks"] if task not in found]:
            raise ArtifactError(
                f"{source} holds the weights of modules of your own classes, which no spec describes: those of {', '.join(missing)}",
                fix=f"gn.load(folder, networks={{{missing[0]!r}: branch, ...}}), or gn.register_network and name it in a spec",
            )
        space = parse_spec(description["space"], kind="search_space", references=False)
        assert isinstance(space, SearchSpaceSpec)
        net = weave(found, primary=description["primary"], space=space)
        return standing(net, description["cut"], description["left"])


def _inferred(written: Any, shapes: Mapping[str, Sequence[int]]) -> tuple[NetworkSpec, Graph]:
    """A network spec and its typed graph for inputs of these shapes, batch first."""
    network = parse_spec(written, kind="network", references=False)
    assert isinstance(network, NetworkSpec)
    types = {name: parse_type(text).bind(shapes[name][1:]) for name, text in network.inputs.items()}
    return network, infer(network, types)


@contextmanager
def _explained(source: Path) -> Generator[None]:
    """What is wrong with an artifact's description, in words."""
    try:
        yield
    except ArtifactError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{source / SPEC} is not whole: {error}", fix="copy or make the artifact again") from None
    except GraphNASError as error:
        unknown = any("unknown operation" in problem.message for problem in error.problems)
        fix = _REGISTER if unknown else "copy or make the artifact again"
        raise ArtifactError(f"{source / SPEC} can't be built: {error}", fix=fix) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ArtifactError(f"{path}: larger than {_LARGEST_JSON >> 20} MiB, which none is", fix="copy or make the artifact again")
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file", fix="an artifact has model.safetensors, spec.json and certificate.json") from None
    except (ValueError, OSError, RecursionError) as error:
        raise ArtifactError(f"{path} can't be read: {error}", fix="copy or make the artifact again") from None
    if not is_mapping(data):
        raise ArtifactError(f"{path} holds no JSON object", fix="copy or make the artifact again")
    return dict(data)


def _write_json(data: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(data, indent=2, allow_nan=True) + "\n", encoding="utf-8")


def _write_all(files: Mapping[Path, Callable[[Path], None]]) -> None:
    """Write each to a temporary file beside it and flush it to the disk; then rename all."""
    temporary: dict[Path, Path] = {}
    try:
        for path, write in files.items():
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            os.close(handle)
            temporary[path] = Path(name)
            write(temporary[path])
            with open(temporary[path], "rb+") as file:
                os.fsync(file.fileno())
            os.chmod(temporary[path], 0o644)
        for path, written in temporary.items():
            os.replace(written, path)
    finally:
        for written in temporary.values():
            written.unlink(missing_ok=True)
