"""``examples/paper``: the settings of Aux-NAS (arXiv:2405.05695), each compiled with either primary on tiny data in the official layout.

Networks are smaller versions of the same ones without published weights, and images are of fewer pixels; the nightly test takes the
networks that the files name.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import graphnas as gn
from graphnas.cli.main import cli
from graphnas.compiler.infer import infer
from graphnas.graph.types import Image
from graphnas.runs import compile as compile_spec
from graphnas.spec import TaskPairSpec, load_spec
from tests.data.writers import save

PAPER = Path(__file__).parents[1] / "examples" / "paper"
FILES = sorted(file.stem for file in PAPER.glob("*.yaml"))
TASKS = {"nyuv2": ("normals", "segmentation"), "cityscapes": ("segmentation", "disparity"), "taskonomy": ("object", "scene")}
NETWORKS = {"vgg16": (321, [2, 2, 3, 3, 3]), "resnet50": (321, [3, 4, 6, 3]), "vit": (224, [3, 3, 3, 3])}
PRIMARIES = [(file, primary) for file in FILES for primary in TASKS[file.partition("-")[0]]]
SIDE = 32  # pixels
UNFETCHED = "networks.*.parameters.pretrained=false"
SMALL = {"vgg16": {}, "resnet50": {"model": "resnet10t"}, "vit": {"model": "vit_tiny_patch16_224"}}
SMALL_TAPS = {"vgg16": [2, 2, 3, 3, 3], "resnet50": [1, 1, 1, 1], "vit": [3, 3, 3, 3]}

# -- tiny data sets


def colors(random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def classes(random: np.random.Generator, top: int) -> np.ndarray:
    return random.integers(0, top, (SIDE, SIDE), dtype=np.uint8)


def nyuv2(root: Path, random: np.random.Generator) -> None:
    for part, count in (("train", 10), ("test", 1)):
        for number in range(count):
            arrays = {"img": colors(random), "seg": classes(random, 40), "normal_mask": colors(random)}
            for key, array in arrays.items():
                save(root / part / key / f"{number:04d}.png", array)


def cityscapes(root: Path, random: np.random.Generator) -> None:
    for part, cities in (("train", ("aachen", "bonn", "ulm")), ("val", ("munster",))):
        for city in cities:
            name = f"{city}_000000_000019"
            save(root / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png", colors(random))
            save(root / "gtFine" / part / city / f"{name}_gtFine_labelIds.png", classes(random, 34))
            stored = random.integers(0, 30_000, (SIDE, SIDE), dtype=np.uint16)
            save(root / "disparity" / part / city / f"{name}_disparity.png", stored)


def taskonomy(root: Path, random: np.random.Generator) -> None:
    for building in ("ackermanville", "adairsville", "zebra"):
        name = "point_0_view_0_domain"
        save(root / "rgb" / "taskonomy" / building / f"{name}_rgb.png", colors(random))
        for domain, count in (("class_object", 1000), ("class_scene", 365)):
            logits = random.normal(size=count).astype(np.float32)
            save(root / domain / "taskonomy" / building / f"{name}_{domain.replace('_', '')}.npy", logits)
    (root / "train_val_test_tiny.csv").write_text("id,train,val,test\nackermanville,1,0,0\nadairsville,1,0,0\nzebra,0,0,1\n")


WRITERS: dict[str, Callable[[Path, np.random.Generator], None]] = {"nyuv2": nyuv2, "cityscapes": cityscapes, "taskonomy": taskonomy}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three data sets, each under its name, as the README wants them."""
    root = tmp_path_factory.mktemp("data")
    for name, write in WRITERS.items():
        write(root / name, np.random.default_rng(0))
    return root


# -- the specs


def search(file: str, *overrides: str) -> gn.SearchSpec:
    spec = load_spec(PAPER / f"{file}.yaml", overrides=overrides)
    assert isinstance(spec, gn.SearchSpec)
    return spec


def data_in(root: Path, name: str) -> list[str]:
    """The overrides that the README gives."""
    places = {
        "nyuv2": {"train": "train", "test": "test"},
        "cityscapes": {"root": ""},
        "taskonomy": {"root": "", "train": "train_val_test_tiny.csv", "test": "train_val_test_tiny.csv"},
    }
    return [f"task_pair.sources.{name}.{field}={root / name / rest}" for field, rest in places[name].items()]


def pixels(file: str) -> list[str]:
    """Overrides: all sizes that the transforms make are those of the tiny data sets."""
    steps = [(number, step.name) for number, step in enumerate(search(file).task_pair.transforms) if step.sizes != "kept"]
    return [f"task_pair.transforms[{number}].{name}=[{SIDE}, {SIDE}]" for number, name in steps]


def small(file: str) -> list[str]:
    """Overrides: smaller networks that start at random, and fewer pixels."""
    name, _, network = file.partition("-")
    narrow = {"channels": 8} if name != "taskonomy" and network != "resnet50" else {}
    parameters = {**SMALL[network], **narrow}
    return [UNFETCHED, *pixels(file), *(f"networks.*.parameters.{field}={value}" for field, value in parameters.items())]


def test_the_nine_settings() -> None:
    assert sorted(f"{name}-{network}" for name in TASKS for network in NETWORKS) == FILES


@pytest.mark.parametrize("file", FILES)
def test_the_stated_setting(file: str) -> None:
    name, _, network = file.partition("-")
    spec = search(file)
    training, weights = spec.training, spec.training.optimizers.weights
    alphas = training.optimizers.alphas
    assert alphas is not None
    assert (weights.type, weights.lr, alphas.type, alphas.lr) == ("adam", 1e-4, "adam", 1e-2)
    for schedule in (weights.schedule, alphas.schedule):
        assert schedule is not None
        assert (schedule.type, schedule.power) == ("poly", 0.9)
    assert (training.epochs, training.batch_size, training.auxiliary_batch_size, training.updates) == (100, 20, 0, "alternate")
    assert (spec.start_from, spec.baseline) == ("single-task", "single-task")
    assert spec.space == load_spec("aux-nas", kind="search_space")
    assert (spec.primary_task, *spec.auxiliaries) == TASKS[name]
    side, _ = NETWORKS[network]
    last = [step for step in spec.task_pair.transforms if step.sizes != "kept"][-1]
    assert last.size == (side, side)
    [use] = spec.networks.values()
    nodes: dict[str, Any] = use.use.bind({"out_channels": 3, **use.parameters}).nodes
    encoder = nodes["encoder"]
    assert encoder.pretrained
    expected = {"vgg16": "vgg_encoder", "resnet50": "resnet50", "vit": "vit_base_patch16_224"}[network]
    assert getattr(encoder, "model", encoder.op) == expected


@pytest.mark.parametrize("file", ["nyuv2-224", "cityscapes-224", "taskonomy-224", "taskonomy-321"])
def test_task_pairs_are_the_shipped_ones_at_another_size(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the checkout they read the same data, too."""
    monkeypatch.chdir(PAPER.parents[1])
    shipped = {
        "nyuv2": "nyuv2-normals-segmentation",
        "cityscapes": "cityscapes-segmentation-disparity",
        "taskonomy": "taskonomy-object-scene",
    }
    pair = load_spec(PAPER / "taskpairs" / f"{file}.yaml")
    other = load_spec(shipped[file.partition("-")[0]], kind="task_pair")
    assert isinstance(pair, TaskPairSpec)
    assert isinstance(other, TaskPairSpec)
    assert (pair.primary, pair.sources, pair.tasks) == (other.primary, other.sources, other.tasks)
    assert {name: value.key for name, value in pair.inputs.items()} == {name: value.key for name, value in other.inputs.items()}


def linked_both_ways(net: gn.Supernet, file: str, primary: str, taps: list[int]) -> None:
    """Links of the published space run both ways within every stage: from tap j to taps j, j + 1 and j + 2."""
    assert (net.primary, set(net.tasks)) == (primary, set(TASKS[file.partition("-")[0]]))
    found = Counter(tap.stage for tap in net.recorded[primary].taps)
    assert [found[stage] for stage in sorted(found)] == taps
    each = sum(0 <= i - j < 3 for n in taps for j in range(n) for i in range(n))
    assert Counter(link.direction for link in net.links) == {"a2p": each, "p2a": each}
    assert {link.destination.task for link in net.links if link.direction == "a2p"} == {primary}
    assert {link.source.task for link in net.links if link.direction == "p2a"} == {primary}
    assert net.alphas.keys() == {link.id for link in net.links}


@pytest.mark.parametrize(("file", "primary"), PRIMARIES)
def test_compiles(file: str, primary: str, data: Path) -> None:
    name, _, network = file.partition("-")
    net = compile_spec(search(file, f"primary={primary}", *small(file), *data_in(data, name)))
    linked_both_ways(net, file, primary, SMALL_TAPS[network])


@pytest.mark.nightly
@pytest.mark.parametrize("file", FILES)
def test_the_networks_themselves_compile(file: str, data: Path) -> None:
    """At the stated size their predictions fit; compiled, at the size of the tiny images."""
    name, _, network = file.partition("-")
    side, taps = NETWORKS[network]
    spec = search(file, UNFETCHED, *pixels(file), *data_in(data, name))
    [use] = spec.networks.values()
    graph = infer(use.use.bind({"out_channels": 7, **use.parameters}), {"image": Image(3, side, side)})
    wanted = "vector[7]" if name == "taskonomy" else f"image[7, {side}, {side}]"
    assert str(graph.by_name[graph.outputs["prediction"]].type) == wanted
    linked_both_ways(compile_spec(spec), file, spec.primary_task, taps)


# -- the README


def commands() -> list[list[str]]:
    """What its shell block says, a list of words each."""
    text = (PAPER / "README.md").read_text()
    [block] = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines() if line]


def test_the_readmes_commands(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each data set with either primary; paths start from the current folder."""
    monkeypatch.chdir(data)
    seen: list[tuple[str, str]] = []
    for program, command, file, out, folder, *rest in commands():
        assert (program, command, out) == ("graphnas", "search", "--out")
        assert rest[::2] == ["--set"] * (len(rest) // 2)
        spec = search(Path(file).stem, *rest[1::2])
        name = Path(file).stem.partition("-")[0]
        assert (Path(file).parent, Path(folder)) == (Path("examples/paper"), Path("runs", f"{Path(file).stem}-{spec.primary_task}"))
        assert spec.task_pair.sources == search(Path(file).stem, *data_in(data / "data", name)).task_pair.sources
        seen.append((name, spec.primary_task))
    assert seen == [(name, primary) for name, both in TASKS.items() for primary in both]


def test_the_readmes_table() -> None:
    """A row for each data set, a link to each file, and both primaries, the file's own first."""
    rows = [line for line in (PAPER / "README.md").read_text().splitlines() if line.startswith("| ") and ".yaml" in line]
    assert [re.findall(r"\]\(([\w-]+)\.yaml\)", row) for row in rows] == [[f"{name}-{network}" for network in NETWORKS] for name in TASKS]
    assert [tuple(re.findall(r"--set primary=(\w+)", row)) for row in rows] == list(TASKS.values())


def test_a_command_of_the_readme_compiles(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user would type it, with the data in the current folder; ``compile`` for ``search``."""
    (tmp_path / "data").symlink_to(data)
    (tmp_path / "examples").symlink_to(PAPER.parent)
    monkeypatch.chdir(tmp_path)
    _, _, file, _, _, *given = commands()[-1]
    more = [word for override in small(Path(file).stem) for word in ("--set", override)]
    result = CliRunner().invoke(cli, ["compile", file, *given, *more, "--json"])
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert [(row["task"], row["role"], row["taps"]) for row in said["branches"]] == [("scene", "primary", 4), ("object", "auxiliary", 4)]
    assert [row["converges_to"] for row in said["rules"]] == ["zero", "free"]
    assert said["inference_parameters"] == said["branches"][0]["parameters"]
