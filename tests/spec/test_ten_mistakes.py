"""Ten mistakes in three files: one run names all of them, each with its place and what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from graphnas import SpecError
from graphnas.spec import load_spec
from tests.spec.conftest import Write

SEARCH = """
kind: search
task_pair: nyuv2-normals-segmentation
networks:
  "*": {use: network.yaml, parameters: {channels: 16}}
space: space.yaml
training:
  epochs: 0
  batch_size: 8
  optimizers:
    weights: {type: adamw, lr: 3e-3, weight_decya: 0.05}
    alphas: {type: adan, lr: 1e-2}
seed: 0
seed: 1
"""
NETWORK = """
kind: network
parameters: {out_channels: {type: integer, minimum: 1}, channels: {type: integer, default: 32}}
inputs: {image: "image[3, H, W]"}
nodes:
  stem: {op: conv2, out_channels: 16}
  body: {op: basic_block, out_channels: wide}
  head: {op: conv2d, out_channels: $out_chanels}
outputs: {prediction: head}
taps: {s1: stem}
"""
SPACE = """
kind: search_space
links:
  - direction: auxiliary -> primery
    operations: [conv1x1]
    penalty: {type: l1, ramp: [0.5, 1.2]}
    converges_to: zero
fusion: {combine: add, activation: rleu}
"""
MESSAGE = """\
network.yaml:5:14: nodes.stem.op: unknown operation 'conv2'
  fix: did you mean 'conv2d'?
network.yaml:6:41: nodes.body.out_channels: expected a whole number, got text 'wide'
  fix: out_channels: 1
network.yaml:7:36: nodes.head.out_channels: unknown parameter '$out_chanels'
  fix: did you mean '$out_channels'?
search.yaml:7:11: training.epochs: must be 1 or more, got 0
  fix: epochs: 1
search.yaml:10:38: training.optimizers.weights.weight_decya: unknown field 'weight_decya'
  fix: did you mean 'weight_decay'?
search.yaml:11:20: training.optimizers.alphas.type: unknown optimizer 'adan'
  fix: did you mean 'adam'?
search.yaml:13:1: the key 'seed' stands twice
  fix: the first is at search.yaml:12:1: remove one
space.yaml:3:16: links[0].direction: unknown role 'primery'
  fix: did you mean 'primary'?
space.yaml:5:37: links[0].penalty.ramp[1]: must be 1 or less, got 1.2
  fix: 1
space.yaml:7:36: fusion.activation: unknown value 'rleu'
  fix: did you mean 'relu'?"""


@pytest.fixture(autouse=True)
def _files(write: Write) -> None:
    for name, text in (("search", SEARCH), ("network", NETWORK), ("space", SPACE)):
        write(f"{name}.yaml", text)


def test_all_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        load_spec("search.yaml")
    assert str(caught.value) == MESSAGE
    assert caught.value.exit_status == 2


def test_the_command_line_says_the_same() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "graphnas", "compile", "search.yaml"], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (2, "", MESSAGE)
