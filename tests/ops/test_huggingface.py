"""``huggingface``: by architecture, by folder and by repository; mistakes; weights without a pickle and without a connection."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import pytest
import torch
import transformers
from pydantic import ValidationError
from torch import nn
from torch.testing import assert_close
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EfficientNetImageProcessor,
    MobileViTImageProcessor,
    SegformerImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)

import graphnas as gn
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.graph.types import Ids, Image, Mask, Tokens, ValueType
from graphnas.ops import hf_hub
from graphnas.ops.base import TypeRuleError
from graphnas.ops.library import reported
from graphnas.ops.opaque import Opaque
from graphnas.spec import dump_spec, parse_spec
from tests.ops.cases import SMALL_BERT, SMALL_HF_DPT, SMALL_HF_VIT
from tests.ops.test_contract import build

VIT: dict[str, Any] = {"architecture": "vit", "config": SMALL_HF_VIT}
IMAGE = Image(3, 32, 48)


def selected(fields: dict[str, Any], types: list[ValueType]) -> tuple[str, object]:
    operation = build("huggingface", fields)
    assert isinstance(operation, Opaque)
    chosen = operation.selection(types)
    return str(operation.infer(types)), None if chosen is None else chosen.key


def test_an_architecture_and_its_heads() -> None:
    assert selected(VIT, [IMAGE]) == ("tokens[25, 16]", "last_hidden_state")
    assert selected({**VIT, "output": "pooler_output"}, [IMAGE]) == ("vector[16]", "pooler_output")
    classes = {**VIT, "head": "image_classification", "config": {**SMALL_HF_VIT, "num_labels": 5}}
    assert selected(classes, [IMAGE]) == ("vector[5]", "logits")
    depth = {"architecture": "dpt", "head": "depth_estimation", "config": SMALL_HF_DPT}
    assert selected(depth, [Image(3, 32, 32)]) == ("image[1, 64, 64]", "predicted_depth")
    [prefix] = [value for name, value in build("huggingface", VIT).inner([IMAGE]).items() if name == "layers.1"]
    assert prefix == Tokens(25, 16, 1, (4, 6))


def network(fields: dict[str, Any], inputs: dict[str, str], **more: Any) -> gn.NetworkSpec:
    return parse_spec(
        {"kind": "network", "inputs": inputs, "nodes": {"net": {"op": "huggingface", **fields}}, "outputs": {"prediction": "net"}, **more},
        kind="network",
    )


def built(spec: gn.NetworkSpec, types: dict[str, ValueType]) -> nn.Module:
    torch.manual_seed(0)
    return lower(spec, infer(spec, types)).eval()


def state_below(module: nn.Module, node: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{node}."): value for name, value in module.state_dict().items() if name.startswith(f"{node}.")}


def test_the_keys_below_the_node_are_the_librarys_own() -> None:
    spec = network({**VIT, "head": "image_classification"}, {"image": "image[3, H, W]"})
    module = built(spec, {"image": IMAGE})
    fresh = ViTForImageClassification(ViTConfig.from_dict(dict(SMALL_HF_VIT))).eval()
    assert list(state_below(module, "net")) == list(fresh.state_dict())
    fresh.load_state_dict(state_below(module, "net"), strict=True)
    image = torch.rand(3, 3, 32, 48)
    assert torch.equal(module(image), fresh(pixel_values=image).logits)


def test_values_inside_are_read_by_name() -> None:
    nodes = {
        "encoder": {"op": "huggingface", **VIT, "inputs": "image"},
        "head": {"op": "add", "inputs": ["encoder.layers.0", "encoder.layers.1", "encoder"]},
    }
    spec = parse_spec({"kind": "network", "inputs": {"image": "image[3, H, W]"}, "nodes": nodes, "outputs": {"prediction": "head"}})
    assert isinstance(spec, gn.NetworkSpec)
    module = built(spec, {"image": IMAGE})
    fresh = ViTModel(ViTConfig.from_dict(dict(SMALL_HF_VIT))).eval()
    fresh.load_state_dict(state_below(module, "encoder"), strict=True)
    image = torch.rand(2, 3, 32, 48)
    seen: list[torch.Tensor] = []
    for layer in fresh.layers:
        layer.register_forward_hook(lambda _module, _args, value: seen.append(cast("Any", value)))
    last = fresh(image).last_hidden_state
    assert torch.equal(module(image), seen[0] + seen[1] + last)


@pytest.mark.parametrize("inputs", [["ids", "mask"], {"attention_mask": "mask", "input_ids": "ids"}])
def test_text(inputs: Any) -> None:
    fields = {"architecture": "bert", "head": "sequence_classification", "config": {**SMALL_BERT, "num_labels": 3}, "inputs": inputs}
    spec = network(fields, {"ids": "ids[L]", "mask": "mask[L]"})
    module = built(spec, {"ids": Ids(7), "mask": Mask(7)})
    fresh = BertForSequenceClassification(BertConfig.from_dict({**SMALL_BERT, "num_labels": 3})).eval()
    fresh.load_state_dict(state_below(module, "net"), strict=True)
    ids, mask = torch.randint(0, 20, (2, 7)), torch.arange(7).expand(2, 7) < 4
    assert torch.equal(module(ids, mask), fresh(ids, attention_mask=mask).logits)
    other = torch.where(mask, ids, (ids + 1) % 20)
    assert torch.equal(module(ids, mask), module(other, mask))  # what is masked does not matter


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"architecture": "vti"}, ".architecture: transformers has no architecture 'vti'\n  fix: did you mean 'vit'?"),
    (
        {**VIT, "head": "image_clasification"},
        ".head: transformers has no head 'image_clasification'\n  fix: did you mean 'image_classification'?",
    ),
    (
        {**VIT, "head": "depth_estimation"},
        ".head: transformers' vit has no head 'depth_estimation'\n  fix: one of none, image_classification, masked_image_modeling",
    ),
    (
        {**VIT, "config": {"hiden_size": 8}},
        ".config.hiden_size: transformers' vit takes no 'hiden_size'\n  fix: did you mean 'hidden_size'?",
    ),
    ({**VIT, "config": {"hidden_size": "8"}}, ".config.hidden_size: expected int, got str (value: '8')"),
    (
        {**VIT, "config": {"output_hidden_states": True}},
        ".config.output_hidden_states: transformers' vit takes no 'output_hidden_states' here\n"
        "  fix: leave it out; values inside have names",
    ),
    (
        {"architecture": "dpt", "config": {"backbone_config": {"model_type": "vit", "auto_map": {"AutoModel": "x--y.Z"}}}},
        ".config.backbone_config.auto_map: transformers' dpt takes no 'auto_map' here\n  fix: leave it out: no code of a repository is run",
    ),
    ({}, ": no network is named\n  fix: architecture: vit, or model: google/vit-base-patch16-224"),
    (
        {**VIT, "pretrained": True},
        ".pretrained: an architecture alone has no published weights\n  fix: model: google/vit-base-patch16-224",
    ),
    ({"model": "./nowhere"}, ".model: HERE/nowhere: no such folder\n  fix: a folder that save_pretrained wrote, or OWNER/NAME on the hub"),
    ({"model": "a/b/c"}, ".model: 'a/b/c' is no name of a repository\n  fix: OWNER/NAME as on the hub, or a folder: ./FOLDER"),
]


@pytest.mark.parametrize(("fields", "message"), MISTAKES)
def test_mistakes(fields: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gn.SpecError) as caught:
        network(fields, {"image": "image[3, H, W]"})
    assert str(caught.value) == f"nodes.net{message}".replace("HERE", str(tmp_path))


@pytest.mark.parametrize(
    ("fields", "types", "message", "field", "fix"),
    [
        ({**VIT, "output": "pooler"}, [IMAGE], "transformers' vit has no output 'pooler'", "output", "did you mean 'pooler_output'?"),
        (
            {"architecture": "bert", "config": SMALL_BERT, "head": "question_answering"},
            [Ids(7)],
            "transformers' bert returns several tensors: start_logits, end_logits",
            "output",
            "output: start_logits",
        ),
        (
            {"architecture": "bert", "config": SMALL_BERT, "inputs": {"input_ids": "a", "atention_mask": "b"}},
            [Ids(7), Mask(7)],
            "transformers' bert reads no 'atention_mask'",
            None,
            "did you mean 'attention_mask'?",
        ),
        (
            {"architecture": "bert", "config": SMALL_BERT, "inputs": ["a", "b"]},
            [Ids(7), Tokens(7, 3)],
            "as what does transformers' bert read the tokens[7, 3]?",
            None,
            "name them: inputs: {input_ids: VALUE, NAME: VALUE}",
        ),
    ],
)
def test_inputs_and_outputs_that_do_not_fit(
    fields: dict[str, Any], types: list[ValueType], message: str, field: str | None, fix: str
) -> None:
    with pytest.raises(TypeRuleError) as caught:
        build("huggingface", fields).infer(types)
    assert (str(caught.value), caught.value.field, caught.value.fix) == (message, field, fix)


def test_a_missing_package_is_named_at_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    file = tmp_path / "net.yaml"
    file.write_text('kind: network\ninputs: {image: "image[3, H, W]"}\nnodes:\n  net: {op: huggingface, architecture: vit}\noutputs: net\n')
    with pytest.raises(gn.SpecError) as caught:
        gn.load_spec(file)
    assert str(caught.value) == f"{file}:4:13: nodes.net.op: huggingface needs transformers\n  fix: pip install graphnas[hf]"
    assert caught.value.exit_status == 2


def test_an_old_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["transformers"], "__version__", "4.57.1")
    with pytest.raises(gn.SpecError) as caught:
        network(VIT, {"image": "image[3, H, W]"})
    assert str(caught.value) == (
        "nodes.net.op: huggingface needs transformers 5.10 or newer, 4.57.1 is installed\n  fix: pip install -U graphnas[hf]"
    )


def test_a_broken_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ImportError("libfoo.so: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(gn.SpecError) as caught:
        network(VIT, {"image": "image[3, H, W]"})
    assert str(caught.value) == (
        "nodes.net.op: huggingface needs transformers, which can't be imported: libfoo.so: cannot open shared object file\n"
        "  fix: pip install -U graphnas[hf]"
    )


def test_it_is_imported_by_the_first_such_node() -> None:
    script = (
        "import sys, graphnas as gn; gn.load_spec('resnet-fpn'); gn.search; gn.json_schema('network');"
        "print([name for name in ('transformers', 'segmentation_models_pytorch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- repositories and folders


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, ViTForImageClassification]:
    """A folder as the hub holds them: a description and weights."""
    torch.manual_seed(5)
    module = ViTForImageClassification(ViTConfig.from_dict({**SMALL_HF_VIT, "num_labels": 4})).eval()
    module.save_pretrained(tmp_path / "published")
    return tmp_path / "published", module


def test_a_folder_says_architecture_head_and_numbers(published: tuple[Path, ViTForImageClassification]) -> None:
    folder, module = published
    operation = build("huggingface", {"model": str(folder), "pretrained": True})
    dumped = operation.model_dump(mode="json")
    assert (dumped["architecture"], dumped["head"]) == ("vit", "image_classification")
    assert dumped["config"] == {**SMALL_HF_VIT, "pooler_output_size": 16, "num_labels": 4}
    (folder / "config.json").unlink()  # the spec holds the description from now on
    assert build("huggingface", {name: value for name, value in dumped.items() if name != "op"}) == operation
    with reported() as lines:
        made = operation.build([IMAGE])
    assert lines == ["published weights of transformers' vit"]
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in made.state_dict().items())
    assert made.training


def test_what_its_images_are_normalized_by(published: tuple[Path, ViTForImageClassification]) -> None:
    operation = build("huggingface", {"model": str(published[0])})
    assert operation.image_statistics == frozenset()
    said = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    (published[0] / "preprocessor_config.json").write_text(json.dumps(said))
    assert operation.image_statistics == {((0.5,) * 3, (0.25,) * 3)}
    both = {"image_processor": {**said, "image_mean": [0.25, 0.5, 0.75]}, "tokenizer": {}}
    (published[0] / "processor_config.json").write_text(json.dumps(both))  # as newer releases write it; it goes first
    assert operation.image_statistics == {((0.25, 0.5, 0.75), (0.25,) * 3)}
    (published[0] / "processor_config.json").write_text("{")
    with pytest.raises(TypeRuleError) as caught:
        _ = operation.image_statistics
    assert str(caught.value).startswith(f"{published[0]}/processor_config.json can't be read: ")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ViTImageProcessor, {}),
        (ViTImageProcessor, {"do_normalize": False}),
        (ViTImageProcessor, {"do_rescale": False, "image_mean": [120.0, 110, 100], "image_std": [60.0, 50, 40]}),
        (ViTImageProcessor, {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 1, 1], "image_std": [1.0, 1, 1]}),
        (SegformerImageProcessor, {}),
        (EfficientNetImageProcessor, {"rescale_offset": True}),
        (MobileViTImageProcessor, {}),
    ],
)
def test_images_are_normalized_as_the_librarys_processor_does(
    kind: Any, fields: dict[str, Any], published: tuple[Path, ViTForImageClassification]
) -> None:
    processor = kind(do_resize=False, do_center_crop=False, **fields)
    processor.save_pretrained(published[0])
    found = build("huggingface", {"model": str(published[0])}).image_statistics
    if kind in (MobileViTImageProcessor, EfficientNetImageProcessor):
        assert found == frozenset()  # the one reads BGR, the other moves zero
        return
    image = torch.randint(256, (3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    [(mean, std)] = found
    ours = (image / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert_close(ours, processor(image, return_tensors="pt")["pixel_values"][0], rtol=1e-5, atol=1e-5)


def test_fields_given_go_over_those_published_and_a_new_head_is_told(published: tuple[Path, ViTForImageClassification]) -> None:
    folder, module = published
    operation = build("huggingface", {"model": str(folder), "pretrained": True, "config": {"num_labels": 7}})
    assert str(operation.infer([IMAGE])) == "vector[7]"
    with reported() as lines:
        made = operation.build([IMAGE])
    assert lines == ["published weights of transformers' vit; new: classifier.weight, classifier.bias"]
    assert torch.equal(made.state_dict()["vit.layers.0.mlp.fc1.weight"], module.state_dict()["vit.layers.0.mlp.fc1.weight"])


def test_the_plain_network_of_one_with_a_head(published: tuple[Path, ViTForImageClassification]) -> None:
    operation = build("huggingface", {"model": str(published[0]), "pretrained": True, "head": "none"})
    with reported() as lines:
        made = operation.build([IMAGE])
    assert lines == ["published weights of transformers' vit; new: pooler.dense.weight, pooler.dense.bias"]
    assert torch.equal(made.state_dict()["layernorm.weight"], published[1].state_dict()["vit.layernorm.weight"])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"image_size": [64, 48]}, "vit.embeddings.position_embeddings [1, 25, 16] for [1, 49, 16]"),
        ({"num_hidden_layers": 3}, "vit.layers.2.attention.q_proj.weight missing; "),
    ],
)
def test_weights_of_another_size_are_refused(published: tuple[Path, ViTForImageClassification], config: dict[str, Any], said: str) -> None:
    operation = build("huggingface", {"model": str(published[0]), "pretrained": True, "config": config})
    with pytest.raises(TypeRuleError) as caught:
        operation.build([IMAGE])
    assert said in str(caught.value)
    assert str(caught.value).startswith("the published weights of transformers' vit can't be loaded: ")
    assert (caught.value.field, caught.value.fix) == (
        "pretrained",
        "pretrained: false, or with it start_from: FILE.safetensors in the search's networks",
    )


def test_a_pickle_is_not_read(published: tuple[Path, ViTForImageClassification]) -> None:
    folder, module = published
    (folder / "model.safetensors").unlink()
    torch.save(module.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(TypeRuleError) as caught:
        build("huggingface", {"model": str(folder), "pretrained": True}).build([IMAGE])
    assert str(caught.value) == f"{folder} has no weights in safetensors, and pickles, which may run code, are never read"
    assert caught.value.fix == (
        f"where you trust it: python -c \"from transformers import AutoModel as m; m.from_pretrained('{folder}')"
        ".save_pretrained('FOLDER')\", then model: ./FOLDER"
    )


def test_a_repository_is_asked_for_its_description_and_its_weights_alone(
    published: tuple[Path, ViTForImageClassification], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, module = published
    asked: list[Any] = []

    def file(repository: str, name: str, *, revision: str | None) -> str:
        asked.append((repository, name, revision))
        return str(folder / name)

    def snapshot(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, allow_patterns, revision))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", file)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(hf_hub, "_fetched", hf_hub._fetched.__wrapped__)
    spec = network({"model": "someone/vit", "revision": "v1", "pretrained": True}, {"image": "image[3, H, W]"})
    assert asked == [("someone/vit", "config.json", "v1")]
    again = parse_spec(json.loads(json.dumps(dump_spec(spec))), kind="network")
    assert len(asked) == 1  # the spec as it is written needs no description any more
    made = built(again, {"image": IMAGE})
    assert asked[1:] == [("someone/vit", ["model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"], "v1")]
    assert torch.equal(made.state_dict()["net.classifier.weight"], module.state_dict()["classifier.weight"])


def test_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValidationError) as caught:
        build("huggingface", {"model": "someone/vit"})
    [error] = caught.value.errors()
    assert error["loc"] == ("node", "model")
    assert error["msg"].startswith("the config.json of someone/vit can't be fetched: ")
    assert error.get("ctx", {}).get("fix") == "architecture: NAME and config: {...} need no connection"
    fields = {**VIT, "model": "someone/vit", "pretrained": True}
    spec = network(fields, {"image": "image[3, H, W]"})
    with pytest.raises(gn.SpecError) as refused:
        built(spec, {"image": IMAGE})
    assert str(refused.value).startswith("nodes.net.pretrained: the weights of someone/vit can't be fetched: ")
    assert str(refused.value).endswith("\n  fix: pretrained: false, or with it start_from: FILE.safetensors in the search's networks")


def test_the_library_speaks_only_when_asked(published: tuple[Path, ViTForImageClassification], capfd: pytest.CaptureFixture[str]) -> None:
    level = transformers.utils.logging.get_verbosity()
    build("huggingface", {"model": str(published[0]), "pretrained": True, "config": {"num_labels": 7}}).build([IMAGE])
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() == level
