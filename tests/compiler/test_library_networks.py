"""Networks of Hugging Face and torchvision as nodes of a spec: woven, pruned, saved, loaded, and strictly the library's own again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import GoogLeNet
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SwinConfig, SwinModel

import graphnas as gn
from graphnas.compiler.build import build, spec_branch
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.graph.types import Image, ValueType
from graphnas.spec import dump_spec, parse_spec
from tests.builders import randomize

SEGFORMER: dict[str, Any] = {
    "num_labels": 4, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "decoder_hidden_size": 8, "num_attention_heads": [1, 1, 2, 2],
}  # fmt: skip
SWIN: dict[str, Any] = {"image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4}


def network(nodes: dict[str, Any], output: str, taps: dict[str, Any]) -> gn.NetworkSpec:
    return parse_spec(
        {"kind": "network", "inputs": {"image": "image[3, H, W]"}, "nodes": nodes, "outputs": {"prediction": output}, "taps": taps},
        kind="network",
    )


def branch_of(spec: gn.NetworkSpec, types: Mapping[str, ValueType], seed: int = 0) -> gn.Branch:
    torch.manual_seed(seed)
    graph = infer(spec, types)
    return spec_branch(spec, graph, lower(spec, graph))


def below(module: nn.Module, node: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{node}."): value for name, value in module.state_dict().items() if name.startswith(f"{node}.")}


def test_a_network_of_hugging_face_comes_back(tmp_path: Path) -> None:
    node = {"op": "huggingface", "architecture": "segformer", "head": "semantic_segmentation", "config": SEGFORMER}
    spec, types = network({"net": node}, "net", {"s": "net.segformer.stages.*"}), {"image": Image(3, 64, 96)}
    branches = {"p": branch_of(spec, types), "a": branch_of(spec, types, seed=1)}
    net = randomize(gn.weave(branches, primary="p", space=gn.load_spec("aux-nas")))
    assert len(net.links) == 18
    pruned = gn.prune(net, force=True)
    assert pruned.certificate.holds
    gn.save(pruned, tmp_path / "artifact")
    loaded = gn.load(tmp_path / "artifact")
    fresh = SegformerForSemanticSegmentation(SegformerConfig.from_dict(dict(SEGFORMER))).eval()
    fresh.load_state_dict(below(loaded, "net"), strict=True)
    image = torch.rand(3, 3, 64, 96)
    expected = fresh(pixel_values=image).logits
    assert torch.equal(loaded(image), expected)
    assert torch.equal(torch.export.export(loaded, (image,)).module()(image), expected)


def test_parts_of_what_a_submodule_returns(tmp_path: Path) -> None:
    nodes = {
        "encoder": {"op": "huggingface", "architecture": "swin", "config": SWIN, "inputs": "image"},
        "head": {"op": "linear_head", "inputs": "encoder.encoder.layers.1[0]", "out_channels": 3},
    }
    spec = network(nodes, "head", {})
    module: Any = branch_of(spec, {"image": Image(3, 64, 64)}).module
    fresh = SwinModel(SwinConfig.from_dict(dict(SWIN))).eval()
    fresh.load_state_dict(below(module, "encoder"), strict=True)
    image, seen = torch.rand(2, 3, 64, 64), []
    fresh.encoder.layers[1].register_forward_hook(lambda _module, _args, value: seen.append(value))
    fresh(image)
    assert torch.equal(module.eval()(image), module.head(seen[0][0]))  # windows are as they were before smaller images were tried


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (
            "encoder.encoder.layers.1",
            "nodes.head.inputs: nothing makes 'encoder.encoder.layers.1'\n  fix: did you mean 'encoder.encoder.layers.1[1]'?",
        ),
        (
            "encoder.encoder.layers.1[3]",
            "nodes.head.inputs: nothing makes 'encoder.encoder.layers.1[3]'\n  fix: did you mean 'encoder.encoder.layers.1[1]'?",
        ),
    ],
)
def test_parts_that_are_not_there(read: str, message: str) -> None:
    encoder = {"op": "huggingface", "architecture": "swin", "config": SWIN}
    spec = network({"encoder": encoder, "head": {"op": "linear_head", "inputs": read, "out_channels": 3}}, "head", {})
    with pytest.raises(gn.SpecError) as caught:
        infer(spec, {"image": Image(3, 64, 64)})
    assert str(caught.value) == message


def test_two_parts_of_one_result() -> None:
    encoder = {"op": "huggingface", "architecture": "swinv2", "config": SWIN}
    read = ["encoder.encoder.layers.1[0]", "encoder.encoder.layers.1[1]"]
    spec = network({"encoder": encoder, "sum": {"op": "add", "inputs": read}}, "sum", {})
    with pytest.raises(gn.SpecError) as caught:
        lower(spec, infer(spec, {"image": Image(3, 64, 64)}))
    assert str(caught.value) == "nodes.encoder: several values of 'encoder.layers.1' are read\n  fix: read one of them"


@pytest.mark.parametrize("taps", [{}, {"s": "net.inception4[b-c]"}])
def test_a_network_with_other_results_in_train_mode(taps: dict[str, Any]) -> None:
    spec = network({"net": {"op": "torchvision", "model": "googlenet", "num_classes": 4, "init_weights": False}}, "net", taps)
    branch = branch_of(spec, {"image": Image(3, 64, 64)})
    fresh = GoogLeNet(num_classes=4, init_weights=False)
    fresh.load_state_dict(below(branch.module, "net"), strict=True)
    image = torch.rand(2, 3, 64, 64)
    assert torch.equal(branch.module.eval()(image), fresh.eval()(image))
    torch.manual_seed(1)
    value = branch.module.train()(image)
    torch.manual_seed(1)
    assert torch.equal(value, fresh.train()(image).logits)


def search(use: dict[str, Any]) -> gn.SearchSpec:
    """One task, classification of images of 32 pixels; no data are opened."""
    return parse_spec(
        {
            "kind": "search",
            "task_pair": {
                "kind": "task_pair",
                "primary": "scene",
                "sources": {"toy": {"layout": "python"}},
                "inputs": {"image": "image"},
                "tasks": {"scene": {"type": "depth", "key": "depth"}},
            },
            "networks": {"scene": use},
            "space": {"kind": "search_space", "links": []},
            "training": {"steps": 1, "batch_size": 1, "optimizers": {"weights": {"type": "sgd", "lr": 1}}},
        },
        kind="search",
    )


@pytest.mark.parametrize(
    ("options", "fetched"), [({}, False), ({"allow_missing": ["net.fc.**"]}, True), ({"part": "net", "into": "net"}, True)]
)
def test_published_weights_are_not_fetched_where_others_are_all_that_is_left(
    options: dict[str, Any], fetched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    real = timm.create_model

    def recorded(model: str, *, pretrained: bool = False, **arguments: Any) -> nn.Module:
        asked.append(pretrained)
        return real(model, **arguments)

    monkeypatch.setattr(timm, "create_model", recorded)
    node = {"op": "timm", "model": "resnet10t", "num_classes": 5, "pretrained": True}
    spec = network({"net": node}, "net", {})
    state = {f"net.{name}": value.clone() for name, value in real("resnet10t", num_classes=5).state_dict().items()}
    save_file(state, tmp_path / "r.safetensors")
    use = {"use": dump_spec(spec), "start_from": str(tmp_path / "r.safetensors"), **options}
    net = build(search(use), {"image": Image(3, 32, 32)})
    assert any(asked) is fetched
    published = ["published weights of timm's resnet10t; new: fc.weight, fc.bias"] if fetched else []
    assert list(net.recorded["scene"].weights) == [*published, f"{len(state)} of {len(state)} tensors from r.safetensors"]
    assert all(torch.equal(net.state_dict()[f"branches.scene.{name}"], value) for name, value in state.items())
