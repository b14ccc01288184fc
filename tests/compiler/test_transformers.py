"""Networks of transformers, built from small configurations: token inputs, masks, caches, collected outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphnas as gn
from graphnas.compiler.caches import cached
from graphnas.errors import RecordError
from tests.builders import OUT, image, randomize, space

transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50,
    "max_position_embeddings": 32,
}  # fmt: skip


def ids(*shape: int) -> Tensor:
    return torch.randint(0, 50, shape, generator=torch.Generator().manual_seed(0))


def mask(batch: int, length: int, padded: int) -> Tensor:
    made = torch.ones(batch, length, dtype=torch.long)
    made[-1, length - padded :] = 0
    return made


def bert() -> nn.Module:
    return transformers.BertForMaskedLM(transformers.BertConfig(**SIZES))


def gpt2(**options: Any) -> nn.Module:
    config = transformers.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, vocab_size=50, n_positions=32, bos_token_id=0, eos_token_id=0, **options
    )
    return transformers.GPT2LMHeadModel(config)


def llama(**options: Any) -> nn.Module:
    config = transformers.LlamaConfig(**SIZES, num_key_value_heads=2, bos_token_id=0, eos_token_id=0, **options)
    return transformers.LlamaForCausalLM(config)


def alone(branch: gn.Branch) -> gn.Supernet:
    return gn.weave({"p": branch}, primary="p", space=gn.load_spec("single-task"))


@pytest.mark.parametrize(
    ("module", "taps"),
    [
        (bert(), {"s": "bert.encoder.layer.*"}),
        (gpt2(use_cache=False), {"s": "transformer.h.*"}),
        (llama(use_cache=False), {"s": "model.layers.*"}),
        (llama(use_cache=False), {"s": "model.layers.*.mlp"}),
    ],
    ids=["bert", "gpt2", "llama", "llama, inside its layers"],
)
@pytest.mark.parametrize("masked", [False, True])
def test_language_models(module: nn.Module, taps: dict[str, str], masked: bool) -> None:
    """Recorded on sequences without padding, which the model leaves its mask out for; used on others, longer and padded."""
    example = {"input_ids": ids(2, 7), **({"attention_mask": mask(2, 7, 0)} if masked else {})}
    branch = gn.Branch.from_module(module, taps=taps, example=example)
    assert not branch.fixed_size
    net = alone(branch)
    other = {"input_ids": ids(3, 11), **({"attention_mask": mask(3, 11, 4)} if masked else {})}
    for given in (example, other):
        assert torch.equal(net.eval()(**given)["p"], module.eval()(**given).logits)
        torch.manual_seed(2)
        expected = module.train()(**given).logits
        torch.manual_seed(2)
        assert torch.equal(net.train()(**given)["p"], expected)
    pruned = gn.prune(net.eval())
    assert pruned.certificate.holds
    returned = pruned.module(**other)
    assert type(returned) is type(module.eval()(**other))
    assert torch.equal(returned.logits, module(**other).logits)


def test_links_between_language_models() -> None:
    branches = {
        "p": gn.Branch.from_module(bert(), taps={"s": "bert.encoder.layer.*"}, example={"input_ids": ids(2, 7)}),
        "q": gn.Branch.from_module(gpt2(use_cache=False), taps={"s": "transformer.h.*"}, example={"input_ids": ids(2, 7)}),
    }
    net = randomize(gn.weave(branches, primary="p", space=space(OUT)))
    assert {(link.source.tap, link.destination.tap) for link in net.links} >= {("bert.encoder.layer.0", "transformer.h.0")}
    assert torch.equal(net.eval()(ids(2, 7))["p"], branches["p"].module.eval()(ids(2, 7)).logits)
    assert not torch.equal(net(ids(2, 7))["q"], branches["q"].module.eval()(ids(2, 7)).logits)


def t5() -> nn.Module:
    config = transformers.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=50, decoder_start_token_id=0)
    return transformers.T5ForConditionalGeneration(config)


@pytest.mark.parametrize(
    ("build", "tap", "inputs"),
    [
        (gpt2, "transformer.h.*", ["input_ids"]),
        (llama, "model.layers.*.mlp", ["input_ids"]),
        (t5, "encoder.block.*.layer.1", ["input_ids", "decoder_input_ids"]),
        (t5, "decoder.block.*.layer.2", ["input_ids", "decoder_input_ids"]),
    ],
)
def test_a_cache_is_filled_and_returned(build: Callable[[], Any], tap: str, inputs: list[str]) -> None:
    """A fresh one in every run, as the module makes it: generation can go on from it."""
    module = build()
    example = {name: ids(2, 7) for name in inputs}
    branch = gn.Branch.from_module(module, taps={"s": tap}, example=example)
    pruned = gn.prune(alone(branch).eval())
    assert pruned.certificate.holds
    other = {name: ids(3, 5) for name in inputs}
    for given in (other, example, other):
        ours, theirs = pruned.module(**given), module.eval()(**given)
        assert type(ours.past_key_values) is type(theirs.past_key_values)
        assert ours.past_key_values.get_seq_length() == theirs.past_key_values.get_seq_length() == given[inputs[-1]].shape[1]
        kept = cached(ours.past_key_values)
        assert len(kept) >= 4
        assert all(torch.equal(one, two) for one, two in zip(kept, cached(theirs.past_key_values), strict=True))


@pytest.mark.parametrize(
    ("build", "tap", "kind", "switches"),
    [
        (gpt2, "transformer.h.*.attn.c_proj", "DynamicCache", ["config"]),
        (llama, "model.layers.*.self_attn.o_proj", "DynamicCache", ["config"]),
        (t5, "decoder.block.*.layer.0.SelfAttention.o", "EncoderDecoderCache", ["config", "decoder.config"]),
    ],
)
def test_a_cache_that_is_filled_by_what_is_looked_into_is_told_by_its_switches(
    build: Callable[[], Any], tap: str, kind: str, switches: list[str]
) -> None:
    module = build()
    example = {name: ids(2, 7) for name in (["input_ids", "decoder_input_ids"] if build is t5 else ["input_ids"])}
    with pytest.raises(RecordError) as caught:
        gn.Branch.from_module(module, taps={"s": tap}, example=example)
    [problem] = caught.value.problems
    assert f": a {kind}, which a graph can't fill at " in problem.message
    assert str(problem.fix).endswith(f"switch the cache off: {'; '.join(f'{name}.use_cache = False' for name in switches)}")
    for name in switches:
        (module.get_submodule(name.rpartition(".")[0]).config).use_cache = False
    assert gn.prune(alone(gn.Branch.from_module(module, taps={"s": tap}, example=example)).eval()).certificate.holds


def test_gradient_checkpointing() -> None:
    module = llama(use_cache=False)
    kind = "activation" if hasattr(module, "activation_checkpointing_enable") else "gradient"  # its name of old
    getattr(module, f"{kind}_checkpointing_enable")()
    assert gn.Branch.from_module(module, taps={"s": "model.layers.*"}, example={"input_ids": ids(2, 7)}).taps
    with pytest.raises(RecordError) as caught:
        gn.Branch.from_module(module, taps={"s": "model.layers.*.mlp"}, example={"input_ids": ids(2, 7)})
    first, fix = str(caught.value).splitlines()
    assert first.startswith("model.layers.0: activation checkpointing, which a graph can't hold at ")
    assert fix == f"  fix: tap 'model.layers.0' itself, which stays as it is then; or switch it off: {kind}_checkpointing_disable()"


@pytest.mark.parametrize("hidden_states", [False, True])
def test_outputs_that_hooks_collect(hidden_states: bool) -> None:
    """transformers puts hooks of its own on the modules whose values it collects."""
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], decoder_hidden_size=16, num_labels=3, output_hidden_states=hidden_states
    )
    module, x = transformers.SegformerForSemanticSegmentation(config), image(2, 3, 64, 64)
    names = [name for name, _ in module.named_modules() if name.endswith(".layer_norm") and name.count(".") == 3]
    assert len(names) == 4
    net = alone(gn.Branch.from_module(module, taps={f"s{i}": name for i, name in enumerate(names)}, example=x, output="logits"))
    assert torch.equal(net.eval()(x)["p"], module.eval()(x).logits)
    returned, expected = gn.prune(net).module(x), module(x)
    assert returned.keys() == expected.keys()
    if hidden_states:
        assert all(map(torch.equal, returned.hidden_states, expected.hidden_states))
