"""``graphnas compile``: the tables, the drawings, other kinds of spec, and refusals with their exit status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

Run = Callable[..., tuple[int, str, str]]

TABLES = """\
branches
task      role        nodes   taps   parameters     MACs
────────────────────────────────────────────────────────
normals   primary         4      2          549   87,040
seg       auxiliary       4      2          549   87,040

links
rule       direction              links   operations   parameters   converges to
────────────────────────────────────────────────────────────────────────────────
links[0]   auxiliary -> primary       2   conv1x1              52   zero
links[1]   primary -> auxiliary       2   conv1x1              52   free

proven
  acyclic: 12 values, 4 links
  asymmetric: with the 2 links that converge to zero removed, no auxiliary value reaches normals:prediction

training, estimated: 2.15 x that of normals alone, on as many batches with its labels
  a batch of the supernet: 187 k MACs x 4 samples x 3 passes
  a batch of normals alone: 87 k MACs x 4 samples x 3 passes
  a backward pass counts as two, in an alpha step as one

inference: 87,040 MACs for one sample, 549 parameters
"""


def test_a_search_prints_tables(folder: Path, graphnas: Run) -> None:
    assert graphnas("compile", "search.yaml") == (0, TABLES, "")


def test_json_says_the_same(folder: Path, graphnas_json: Callable[..., Any]) -> None:
    said = graphnas_json("compile", "search.yaml")
    assert said["primary"] == "normals"
    assert [(row["task"], row["role"], row["parameters"], row["macs"]) for row in said["branches"]] == [
        ("normals", "primary", 549, 87_040),
        ("seg", "auxiliary", 549, 87_040),
    ]
    assert [(row["direction"], row["links"], row["converges_to"]) for row in said["rules"]] == [
        ("auxiliary -> primary", 2, "zero"),
        ("primary -> auxiliary", 2, "free"),
    ]
    assert (said["inference_macs"], said["inference_parameters"]) == (87_040, 549)


def test_an_alpha_step_computes_no_gradients_of_weights(folder: Path, graphnas_json: Callable[..., Any]) -> None:
    joint = graphnas_json("compile", "search.yaml", "--set", "training.auxiliary_batch_size=4")["training"]
    alternate = graphnas_json("compile", "search.yaml", "--set", "training.updates=alternate")["training"]
    assert (joint["supernet_samples"], joint["primary_samples"], joint["supernet_passes"]) == (8, 4, 3)
    assert (alternate["supernet_samples"], alternate["supernet_passes"]) == (4, 2.5)
    assert joint["relative"] == round(2 * joint["supernet_macs"] / joint["primary_macs"], 2)


def test_verbose_prints_the_typed_graphs(folder: Path, graphnas: Run) -> None:
    status, out, err = graphnas("compile", "search.yaml", "--verbose")
    assert (status, err) == (0, "")
    assert out.endswith(TABLES)
    graphs = out.removesuffix(TABLES)
    assert graphs.startswith("normals:\nimage: image[3, 16, 16]\n")
    assert "seg:s2" not in graphs
    assert "\nlinks:\nseg:stem->normals:stem  a2p  conv1x1\n" in graphs


def test_drawings(folder: Path, graphnas: Run) -> None:
    assert graphnas("compile", "search.yaml", "--graph", "net.svg") == (0, TABLES, "")
    assert graphnas("compile", "search.yaml", "--graph", "net.mmd") == (0, TABLES, "")
    texts = [element.text for element in ElementTree.parse("net.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert "549 parameters, 87 k MACs" in texts
    assert Path("net.mmd").read_text().count("-.->") == 2


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            "network.yaml",
            "this network is correct\n  inputs: image: image[3, H, W]\n  parameters: out_channels\n  nodes: 3\n"
            "  outputs: prediction\n  stages: s1; s2\n",
        ),
        (
            "space.yaml",
            "this search_space is correct\n"
            "  links: auxiliary -> primary, converges to zero; primary -> auxiliary, converges to free\n  inference: primary\n",
        ),
        ("pair.yaml", "this task_pair is correct\n  primary: normals\n  tasks: normals; seg\n  sources: rooms\n  inputs: image\n"),
    ],
)
def test_other_kinds_are_checked_and_summarized(spec: str, words: str, folder: Path, graphnas: Run) -> None:
    assert graphnas("compile", spec) == (0, words, "")


def test_other_kinds_as_json(folder: Path, graphnas_json: Callable[..., Any]) -> None:
    assert graphnas_json("compile", "pair.yaml") == {
        "kind": "task_pair",
        "primary": "normals",
        "tasks": ["normals", "seg"],
        "sources": ["rooms"],
        "inputs": ["image"],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serch.yaml"], "serch.yaml: there is no such file\n  fix: did you mean 'search.yaml'?\n"),
        (["aux-nass"], "aux-nass: unknown preset 'aux-nass'\n  fix: did you mean 'aux-nas'?\n"),
        (["search.yaml", "--graph", "net.png"], "--graph: can't draw 'net.png'\n  fix: a name that ends in .svg or .mmd\n"),
        (["space.yaml", "--graph", "net.svg"], "--graph: a search_space has no links to draw\n  fix: give a search\n"),
        (
            ["search.yaml", "--set", "training.stps=3"],
            "--set training.stps: unknown field 'stps'\n  fix: did you mean 'steps'?\n",
        ),
        (
            ["search.yaml", "--set", "space.links.0.converges_to=free"],
            "--set space.links.0.converges_to: auxiliary -> primary converges to free, and would stay in the primary\n"
            "  fix: converges_to: zero, or constraints: {inference: all}\n",
        ),
    ],
)
def test_refusals(arguments: list[str], message: str, folder: Path, graphnas: Run) -> None:
    assert graphnas("compile", *arguments) == (2, "", message)


def test_mistakes_in_several_files_come_at_once(folder: Path, graphnas: Run) -> None:
    for file, right, wrong in (
        ("network.yaml", "stride: 2", "strid: 2"),
        ("space.yaml", "converges_to: zero", "converges_to: nought"),
        ("search.yaml", "batch_size: 4", "batch_size: 0"),
    ):
        Path(file).write_text(Path(file).read_text().replace(right, wrong))
    assert graphnas("compile", "search.yaml") == (
        2,
        "",
        "network.yaml:6:39: nodes.body.strid: unknown field 'strid'\n  fix: did you mean 'stride'?\n"
        "search.yaml:7:15: training.batch_size: must be 1 or more, got 0\n  fix: batch_size: 1\n"
        "space.yaml:6:19: links[0].converges_to: unknown value 'nought'\n  fix: one of binary, free, zero\n",
    )
