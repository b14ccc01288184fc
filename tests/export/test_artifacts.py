"""An artifact holds the user's own names, loads strictly and bitwise, and says what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler import infer, lower
from graphnas.compiler.build import spec_branch
from graphnas.errors import ArtifactError
from graphnas.graph.types import Image
from graphnas.spec import parse_spec

X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NETWORK = {
    "kind": "network",
    "inputs": {"image": "image[3, H, W]"},
    "nodes": {
        "stem.conv": {"op": "conv2d", "out_channels": 8},
        "block": {"op": "basic_block", "out_channels": 8},
        "head": {"op": "conv2d", "out_channels": 2},
    },
    "outputs": {"prediction": "head"},
    "taps": {"s": "block"},
}


class Mine(nn.Module):
    """Tied weights, channels last, a module that nothing calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.third = nn.Conv2d(4, 4, 3, padding=1)
        self.third.weight = self.second.weight
        self.spare = nn.Linear(2, 2)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        return self.third(self.second(self.first(image)).relu())


def of_spec() -> gn.Branch:
    spec = parse_spec(NETWORK)
    graph = infer(spec, {"image": Image(3, 64, 64)})
    return spec_branch(spec, graph, lower(spec, graph))


def of_module(build: Callable[[], nn.Module], taps: dict[str, Any]) -> Callable[[], gn.Branch]:
    return lambda: gn.Branch.from_module(build(), taps=taps, example=X)


def resnet() -> nn.Module:
    return timm.create_model("resnet18", num_classes=5)


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=64, depth=4, num_classes=5)


KINDS: dict[str, tuple[Callable[[], gn.Branch], Callable[[], nn.Module] | None]] = {
    "spec": (of_spec, None),
    "timm resnet18": (of_module(resnet, {"s1": "layer1.*", "s2": "layer2.*"}), resnet),
    "timm vit_tiny": (of_module(vit, {"s": "blocks.*"}), vit),
    "a module of the user's": (of_module(Mine, {"s": ["first", "second"]}), Mine),
}


def pruned_of(make: Callable[[], gn.Branch]) -> gn.Pruned:
    net = gn.weave({"p": make(), "q": make()}, primary="p", space=gn.load_spec("aux-nas")).train()
    net(X)["p"].sum().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= 0.01 * (parameter.grad if parameter.grad is not None else 1)
    return gn.prune(net.eval(), force=True)


@pytest.mark.parametrize("kind", KINDS)
def test_it_loads_strictly_and_bitwise(kind: str, tmp_path: Path) -> None:
    make, build = KINDS[kind]
    pruned = pruned_of(make)
    assert pruned.certificate.holds
    folder = gn.save(pruned, tmp_path / "artifact")
    assert sorted(path.name for path in folder.iterdir()) == ["certificate.json", "model.safetensors", "spec.json"]
    expected = pruned.module.eval()(X)
    if build is None:
        assert torch.equal(gn.load(folder)(X), expected)
        return
    fresh = build()
    fresh.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    assert torch.equal(fresh.eval()(X), expected)
    assert torch.equal(gn.load(folder, into=build())(X), expected)
    with pytest.raises(ArtifactError) as caught:
        gn.load(folder)
    assert str(caught.value) == (
        f"{folder} holds the weights of a module of your own class, which no spec describes\n"
        "  fix: gn.load(folder, into=YourClass(...)), or gn.register_network and name it in a spec"
    )


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return gn.save(pruned_of(of_spec), tmp_path / "artifact")


def message(folder: Path, **options: Any) -> str:
    with pytest.raises(ArtifactError) as caught:
        gn.load(folder, **options)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_a_flipped_bit_is_noticed(artifact: Path) -> None:
    weights = artifact / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert message(artifact) == (
        f"{weights} is not what certificate.json was written for: its hash differs\n  fix: copy or make the artifact again"
    )


def test_a_truncated_file_is_noticed(artifact: Path) -> None:
    weights = artifact / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    found = message(artifact)
    assert found.startswith(f"{weights} is no whole safetensors file: ")
    assert found.endswith("\n  fix: copy or make it again")


@pytest.mark.parametrize("name", ["spec.json", "certificate.json"])
def test_files_that_are_missing_or_broken(artifact: Path, name: str) -> None:
    (artifact / name).write_text("{")
    assert message(artifact).startswith(f"{artifact / name} can't be read: ")
    (artifact / name).unlink()
    assert message(artifact) == (
        f"{artifact / name}: no such file\n  fix: an artifact has model.safetensors, spec.json and certificate.json"
    )


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert message(tmp_path / "no") == f"{tmp_path / 'no'}: no such folder\n  fix: name the artifact's folder: RUN/artifact"


def test_a_later_format(artifact: Path) -> None:
    spec = json.loads((artifact / "spec.json").read_text())
    (artifact / "spec.json").write_text(json.dumps({**spec, "version": 9}))
    assert message(artifact) == f"{artifact / 'spec.json'} has format 9, this graphnas reads 1\n  fix: use the graphnas that wrote it"


def test_another_class(artifact: Path) -> None:
    found = message(artifact, into=nn.Linear(2, 2))
    assert found.startswith(f"{artifact / 'model.safetensors'} does not fit Linear: 2 missing: weight, bias; ")
    unknown = len(load_file(artifact / "model.safetensors"))
    assert f"; {unknown} unknown: " in found
    assert found.endswith("\n  fix: give the network that it was saved from")


def test_a_save_that_fails_leaves_what_was_there(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in artifact.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("graphnas.export.artifact.save_file", full)
    with pytest.raises(gn.RunError) as caught:
        gn.save(pruned_of(of_spec), artifact)
    assert str(caught.value) == (
        f"{artifact}: the artifact can't be written: no space left on device\n"
        "  fix: make room or allow writing there, and try again; an artifact that was there is whole"
    )
    assert {path.name: path.read_bytes() for path in artifact.iterdir()} == before


# -- where more than the primary's network was kept


def kept(space: gn.SearchSpaceSpec, make: Callable[[], gn.Branch] = of_spec) -> gn.Pruned:
    net = gn.weave({"p": make(), "q": make()}, primary="p", space=space).eval()
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return gn.prune(net, force=True)


@pytest.mark.parametrize("name", ["nddr", "cross-stitch", "mtl-nas", "primary+fusion"])
def test_what_keeps_more_than_the_primary_loads_bitwise(name: str, tmp_path: Path) -> None:
    space = FUSED if name == "primary+fusion" else gn.load_spec(name)
    assert isinstance(space, gn.SearchSpaceSpec)
    pruned = kept(space)
    assert pruned.keeps == ("primary+fusion" if name == "primary+fusion" else "all")
    folder = gn.save(pruned, tmp_path / "artifact")
    loaded = gn.load(folder)
    assert list(loaded.state_dict()) == list(pruned.module.state_dict())
    assert torch.equal(loaded(X), pruned.module.eval()(X))
    description, certificate = json.loads((folder / "spec.json").read_text()), json.loads((folder / "certificate.json").read_text())
    assert (description["keeps"], description["network"], list(description["supernet"]["networks"])) == (pruned.keeps, None, ["p", "q"])
    assert (certificate["keeps"], certificate["macs_ratio"]) == (pruned.keeps, pruned.certificate.macs_ratio)
    assert certificate["macs_ratio"] > 1


FUSED = parse_spec(
    {
        "kind": "search_space",
        "links": [{"direction": "auxiliary -> primary", "operations": ["conv1x1"], "converges_to": "zero"}],
        "fusion": {"self": {"op": "conv1x1", "initial": 0.9}, "norm": "batch_norm", "activation": "relu"},
        "constraints": {"inference": "primary+fusion"},
    }
)


def test_networks_of_the_users_own_are_given_again(tmp_path: Path) -> None:
    make = of_module(Mine, {"s": ["first", "second"]})
    nddr = gn.load_spec("nddr")
    assert isinstance(nddr, gn.SearchSpaceSpec)
    pruned = kept(nddr, make)
    folder = gn.save(pruned, tmp_path / "artifact")
    assert message(folder) == (
        f"{folder} holds the weights of modules of your own classes, which no spec describes: those of p, q\n"
        "  fix: gn.load(folder, networks={'p': branch, ...}), or gn.register_network and name it in a spec"
    )
    assert message(folder, networks={"p": make()}).splitlines()[0].endswith("which no spec describes: those of q")
    given = {"p": make(), "q": make()}
    before = [parameter.clone() for branch in given.values() for parameter in branch.module.parameters()]
    assert torch.equal(gn.load(folder, networks=given)(X), pruned.module.eval()(X))
    assert all(map(torch.equal, before, (parameter for branch in given.values() for parameter in branch.module.parameters())))


def test_a_description_that_was_changed(tmp_path: Path) -> None:
    nddr = gn.load_spec("nddr")
    assert isinstance(nddr, gn.SearchSpaceSpec)
    folder = gn.save(kept(nddr), tmp_path / "artifact")
    spec = json.loads((folder / "spec.json").read_text())
    spec["supernet"]["cut"] = ["q:block->p:block"]
    (folder / "spec.json").write_text(json.dumps(spec))
    assert message(folder) == (
        f"{folder / 'spec.json'} is not what certificate.json was written for: its hash differs\n  fix: copy or make the artifact again"
    )
    certificate = json.loads((folder / "certificate.json").read_text())
    (folder / "certificate.json").write_text(json.dumps({**certificate, "spec_sha256": None}))
    (folder / "spec.json").write_text(json.dumps({**spec, "supernet": None}))
    assert message(folder) == (
        f"{folder} holds more than the primary's network (inference: all), and an earlier graphnas did not say what\n"
        "  fix: make it again: graphnas prune RUN"
    )
