"""Weights from files: what fits is loaded and told, what does not is refused with what to write, and no pickle is read."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler.weights import LoadedWeights, load_weights, read_weights
from graphnas.errors import ArtifactError


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)


class Net(nn.Module):
    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Conv2d(4, classes, 1)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5)
        self.out.weight = self.embed.weight


def weights_of(module: nn.Module, seed: int = 1) -> dict[str, Tensor]:
    """Other values by the module's names."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value + 7
        for name, value in module.state_dict().items()
    }


def refused(module: nn.Module, weights: Any, **options: Any) -> str:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ArtifactError) as caught:
        load_weights(module, weights, **options)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())  # not at all
    return str(caught.value)


def test_all_of_them() -> None:
    net = Net()
    given = weights_of(net)
    told = gn.load_weights(net, given)
    assert str(told) == "9 of 9 tensors from the state dict"
    assert told == LoadedWeights("the state dict", tuple(net.state_dict()))
    assert all(torch.equal(value, given[name]) for name, value in net.state_dict().items())


def test_what_may_be_missing_keeps_its_value() -> None:
    net, given = Net(), weights_of(Net())
    head = net.head.weight.clone()
    told = load_weights(net, {name: value for name, value in given.items() if not name.startswith("head")}, allow_missing=["head.**"])
    assert str(told) == "7 of 9 tensors from the state dict; new: head.weight, head.bias"
    assert torch.equal(net.head.weight, head)
    assert torch.equal(net.encoder.conv.weight, given["encoder.conv.weight"])


def test_a_head_of_another_size_is_missing_where_it_may_be() -> None:
    net, given = Net(classes=3), weights_of(Net(classes=2))
    assert refused(net, given) == (
        "the state dict does not fit Net: 2 of another shape: head.weight [2, 4, 1, 1] for [3, 4, 1, 1], head.bias [2] for [3]\n"
        "  fix: weights of the same network; or allow_missing: [head.**]"
    )
    assert str(load_weights(net, given, allow_missing=["head.**"])) == "7 of 9 tensors from the state dict; new: head.weight, head.bias"


def test_weights_of_a_backbone_go_into_a_part() -> None:
    net, given = Net(), {**weights_of(Encoder()), "fc.weight": torch.rand(10, 4), "fc.bias": torch.rand(10)}
    assert refused(net, given, source="r.safetensors") == (
        "r.safetensors does not fit Net: 9 missing: encoder.conv.weight, encoder.conv.bias, encoder.norm.weight, encoder.norm.bias, "
        "encoder.norm.running_mean, encoder.norm.running_var, encoder.norm.num_batches_tracked, head.weight, head.bias; "
        "9 unknown: conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.num_batches_tracked, "
        "fc.weight, fc.bias\n  fix: into: encoder"
    )
    assert refused(net, given, source="r.safetensors", into="encoder") == (
        "r.safetensors does not fit encoder of Net: 2 unknown: fc.weight, fc.bias\n"
        "  fix: weights of the same network; or allow_unused: [fc.**]"
    )
    told = load_weights(net, given, source="r.safetensors", into="encoder", allow_unused=["fc.*"])
    assert str(told) == "7 of 9 tensors from r.safetensors; new: head.weight, head.bias; not used: fc.weight, fc.bias"
    assert torch.equal(net.state_dict()["encoder.norm.running_var"], given["norm.running_var"])


def test_a_part_of_the_weights() -> None:
    encoder, given = Encoder(), weights_of(Net())
    assert refused(encoder, given).endswith("\n  fix: part: encoder")
    assert str(load_weights(encoder, given, part="encoder")) == "7 of 7 tensors from the state dict"
    assert torch.equal(encoder.conv.weight, given["encoder.conv.weight"])
    parallel = {f"module.{name}": value for name, value in given.items()}
    assert refused(Net(), parallel).endswith("\n  fix: part: module")
    assert refused(Net(), parallel, part="modul") == "the state dict has no part 'modul'\n  fix: did you mean 'module'?"
    assert refused(Net(), given, into="encodr") == "the network has no part 'encodr' to load weights into\n  fix: did you mean 'encoder'?"
    net = Net()
    assert (
        str(load_weights(net, given, part="encoder", into="encoder")) == "7 of 9 tensors from the state dict; new: head.weight, head.bias"
    )


def test_the_fix_of_names_here_and_there() -> None:
    given = weights_of(Net())
    del given["encoder.conv.bias"]
    given |= {"more": torch.zeros(1), "head.extra.a": torch.zeros(1), "head.extra.b": torch.zeros(1)}
    assert refused(Net(), given) == (
        "the state dict does not fit Net: 1 missing: encoder.conv.bias; 3 unknown: more, head.extra.a, head.extra.b\n"
        "  fix: weights of the same network; or allow_missing: [encoder.conv.bias] and allow_unused: [more, head.extra.**]"
    )


def test_long_lists_are_cut() -> None:
    given = weights_of(Net()) | {f"layers.{i}": torch.zeros(1) for i in range(12)}
    listed = ", ".join(f"layers.{i}" for i in range(10))
    assert f"12 unknown: {listed}, ... (12 in all)\n" in refused(Net(), given)


def test_one_name_of_tied_weights_is_enough() -> None:
    module, given = Tied(), weights_of(Tied())
    del given["out.weight"]
    assert str(load_weights(module, given)) == "3 of 3 tensors from the state dict"
    assert torch.equal(module.out.weight, given["embed.weight"])


def test_files_older_than_the_counters_of_batch_norm() -> None:
    net = Net()
    given = {name: value for name, value in weights_of(net).items() if not name.endswith("num_batches_tracked")}
    assert str(load_weights(net, given)) == "8 of 8 tensors from the state dict"


# -- files


def test_files_and_folders(tmp_path: Path) -> None:
    given = weights_of(Net())
    run = tmp_path / "runs" / "single"
    (run / "artifact").mkdir(parents=True)
    save_file(given, run / "artifact" / "model.safetensors")
    save_file(given, tmp_path / "net.safetensors")
    for path, short in [
        (run, "runs/single"),
        (run / "artifact", "single/artifact"),
        (tmp_path / "net.safetensors", "net.safetensors"),
    ]:
        net = Net()
        assert str(gn.load_weights(net, path)) == f"9 of 9 tensors from {short}"
        assert torch.equal(net.head.weight, given["head.weight"])


def test_what_is_no_file_of_weights(tmp_path: Path) -> None:
    def said(path: Path) -> str:
        with pytest.raises(ArtifactError) as caught:
            read_weights(path)
        return str(caught.value)

    file = tmp_path / "net.safetensors"
    save_file(weights_of(Net()), file)
    assert said(tmp_path / "nets.safetensors") == f"{tmp_path}/nets.safetensors: no such file\n  fix: did you mean 'net.safetensors'?"
    assert said(tmp_path) == f"{tmp_path} holds no model.safetensors\n  fix: name a file: {file}"
    file.write_bytes(file.read_bytes()[:-3])
    assert said(file).startswith(f"{file} is no whole safetensors file: ")
    file.unlink()
    assert said(tmp_path) == (
        f"{tmp_path} holds no model.safetensors, nor does its artifact/\n  fix: an artifact, a finished run, or a safetensors file"
    )


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
@pytest.mark.parametrize("name", ["my net.pth", "net.safetensors", "pytorch_model.bin"])
def test_a_pickle_is_refused_with_the_line_that_converts_it(name: str, nested: str | None, tmp_path: Path) -> None:
    state = {"embed.weight": torch.arange(12.0).reshape(3, 4).T, "count": torch.tensor(3)}
    state["out.weight"] = state["embed.weight"]  # tied, and not contiguous
    file = tmp_path / name
    torch.save(state if nested is None else {nested: state, "epoch": 3}, file)
    with pytest.raises(ArtifactError) as caught:
        read_weights(tmp_path if name == "pytorch_model.bin" else file)
    head, _, line = str(caught.value).partition("\n  fix: convert it where you trust it: ")
    assert head == f"{file} is a pickle, which may run code and is never read"
    target = file.with_suffix(".safetensors")
    code = (
        'import sys, torch, safetensors.torch as s; d = torch.load(sys.argv[1], map_location="cpu", weights_only=True); '
        'd = next((d[k] for k in ("state_dict", "model", "model_state_dict", "net") if isinstance(d.get(k), dict)), d); '
        "s.save_file({k: v.clone().contiguous() for k, v in d.items() if torch.is_tensor(v)}, sys.argv[2])"
    )
    assert line == f"python -c '{code}' {shlex.quote(str(file))} {shlex.quote(str(target))}"
    if name != "my net.pth":
        return
    _, *arguments = shlex.split(line)
    subprocess.run([sys.executable, *arguments], check=True)
    found = read_weights(target)
    assert list(found) == sorted(state)
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_a_folder_that_transformers_saved_says_how_to_read_it(tmp_path: Path) -> None:
    save_file({"vit.encoder.layer.0.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "transformers_version": "5.24.0"}))
    assert refused(nn.Linear(2, 2), tmp_path).endswith(
        f"\n  fix: op: huggingface with model: {tmp_path} and pretrained: true knows how transformers renames what it saves"
    )
