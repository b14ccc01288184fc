"""From run folders to statistics, words, CSV and pictures, on cells with values that are known."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

import graphnas as gn
from graphnas.compare import compare, make_plan, read_methods, read_plan, read_vary
from graphnas.compare.plan import Plan, longer
from graphnas.compare.results import Row
from graphnas.compare.statistics import holm
from graphnas.compare.tables import judged_row, words
from tests.compare.conftest import finish, finish_cell

SINGLE = {0: 10.0, 1: 12.0, 2: 11.0}
BETTER = {0: 8.0, 1: 9.9, 2: 9.1}  # differences -2, -2.1, -1.9: mean -2, half 4.3027 * 0.1 / sqrt(3)
MIXED = {0: 11.0, 1: 11.0, 2: 12.0}  # differences 1, -1, 1


def plan_of(*methods: str, **options: Any) -> Plan:
    return make_plan("search.json", read_methods(methods or ("aux-nas-mix", "aux-head")), **{"seeds": 3, **options})


def rows_of(found: Any) -> dict[str, Row]:
    return {row.method: row for row in found.rows}


def test_differences_are_paired(folder: Path) -> None:
    plan = plan_of()
    finish(
        plan,
        folder / "out",
        {"single-task": SINGLE, "aux-nas-mix": BETTER, "aux-head": MIXED},
        {"aux-nas-mix": 35.0},
        {"single-task": 400, "aux-nas-mix": 700},
    )
    found = compare(plan, "out")
    rows = rows_of(found)
    rel = rows["aux-nas-mix"].metrics["rel"]
    assert rel.difference is not None
    assert (rel.difference.mean, rel.difference.half) == (pytest.approx(-2), pytest.approx(4.3026527299 * 0.1 / 3**0.5))
    assert rel.value.mean == pytest.approx(9)
    assert rel.delta_percent == pytest.approx(100 * 2 / 11)  # less is better: positive
    assert (rel.wins, rel.better, rel.significant) == (3, True, True)
    assert rows["aux-nas-mix"].metrics["delta1"].delta_percent == pytest.approx(-100 * 2 / 11)  # more is better
    assert rows["aux-nas-mix"].metrics["delta1"].wins == 0
    assert rows["aux-nas-mix"].differences == {0: -2, 1: pytest.approx(-2.1), 2: pytest.approx(-1.9)}
    other = rows["aux-head"].metrics["rel"]
    assert (other.wins, other.better, other.significant) == (1, False, False)
    assert rel.difference.p is not None
    assert other.difference is not None
    assert other.difference.p is not None
    assert [rel.p, other.p] == holm([rel.difference.p, other.difference.p])
    assert (rows["aux-nas-mix"].time_ratio, rows["aux-head"].time_ratio, rows["aux-nas-mix"].macs_ratio) == (3.5, 1, 1)
    assert (rows["aux-nas-mix"].memory_ratio, rows["aux-head"].memory_ratio) == (1.75, None)  # one was not measured
    assert (rows["single-task"].cut_gap, rows["aux-head"].cut_gap) == (None, 0.25)
    assert rows["single-task"].metrics["rel"].difference is None


def test_words_and_cells_of_the_table(folder: Path) -> None:
    plan = plan_of()
    finish(
        plan,
        folder / "out",
        {"single-task": SINGLE, "aux-nas-mix": BETTER, "aux-head": MIXED},
        {"aux-nas-mix": 35.0},
        {"single-task": 400, "aux-nas-mix": 700},
    )
    found = compare(plan, "out")
    assert words(found) == [
        "aux-nas-mix: significantly better than the single task: rel -2 [-2.248, -1.752], p = 0.002, 3 of 3 seeds",
        "aux-head: no significant difference from the single task: rel +0.3333 [-2.535, +3.202], p = 0.667, 1 of 3 seeds",
        "± and [] are 95 % t intervals, differences are paired by seed; p is corrected for 2 comparisons (Holm), significant below 0.05",
    ]
    cells = judged_row(rows_of(found)["aux-nas-mix"], found)
    assert cells == ("aux-nas-mix", "3", "9 ± 2.4", "-2 ± 0.25", "0.002", "+18.2", "3/3", "0.25", "1.00", "3.50", "1.75")


def test_worse_is_called_worse(folder: Path) -> None:
    plan = plan_of("aux-head")
    finish(plan, folder / "out", {"single-task": BETTER, "aux-head": SINGLE})
    assert words(compare(plan, "out"))[0] == (
        "aux-head: significantly worse than the single task: rel +2 [+1.752, +2.248], p < 0.001, 0 of 3 seeds"
    )


def test_one_seed_has_no_intervals_and_says_so(folder: Path) -> None:
    plan = plan_of("aux-head", seeds=1)
    finish(plan, folder / "out", {"single-task": {0: 10.0}, "aux-head": {0: 9.0}})
    found = compare(plan, "out")
    assert words(found) == [
        "aux-head: rel -1 against the single task, on one seed",
        "one seed: no intervals and no tests; two runs often differ as much by their seeds alone: --seeds 5 tells",
    ]
    assert judged_row(rows_of(found)["aux-head"], found) == ("aux-head", "1", "9", "-1", "-", "+10.0", "1/1", "0.25", "1.00", "1.00", "-")


def test_what_is_not_measured_is_left_out_of_the_pairs(folder: Path) -> None:
    plan = plan_of("aux-head")
    finish(plan, folder / "out", {"single-task": SINGLE, "aux-head": {**BETTER, 1: None}})
    rel = rows_of(compare(plan, "out"))["aux-head"].metrics["rel"]
    assert rel.difference is not None
    assert (rel.value.n, rel.difference.n, rel.difference.mean) == (2, 2, pytest.approx(-1.95))


def test_files(folder: Path) -> None:
    plan = plan_of()
    finish(plan, folder / "out", {"single-task": SINGLE, "aux-nas-mix": BETTER, "aux-head": MIXED})
    found = compare(plan, "out")
    assert json.loads(Path("out/results.json").read_text()) == json.loads(json.dumps(found.to_dict()))
    with Path("out/results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["method"], line["metric"]) for line in lines[:4]] == [
        ("single-task", "rel"), ("single-task", "delta1"), ("aux-nas-mix", "rel"), ("aux-nas-mix", "delta1"),
    ]  # fmt: skip
    rel = rows_of(found)["aux-nas-mix"].metrics["rel"]
    assert (float(lines[2]["p_holm"]), lines[2]["wins"], lines[2]["pairs"], lines[0]["difference"]) == (rel.p, "3", "3", "")
    picture = ElementTree.parse("out/comparison.svg").getroot()
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"aux-nas-mix", "aux-head", "depth: rel minus that of the single task"} <= set(texts)
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) == 2 * (3 + 1)
    assert read_plan("out") == plan


def test_a_curve_over_a_field(folder: Path) -> None:
    plan = plan_of("aux-head", vary=read_vary(["balance.weights.seg=1,3,10"]))
    values = {f"aux-head, balance.weights.seg={weight}": {seed: 12 - weight / 5 + seed / 10 for seed in range(3)} for weight in (1, 3, 10)}
    single = [variant.name for variant in plan.variants if variant.method == "single-task"]
    finish(plan, folder / "out", {**values, **dict.fromkeys(single, SINGLE)})
    found = compare(plan, "out")
    order = [(row.method, row.values["balance.weights.seg"]) for row in found.rows]
    assert order == [(method, weight) for weight in (1, 3, 10) for method in ("single-task", "aux-head")]
    assert [row.metrics["rel"].value.mean for row in found.rows] == pytest.approx([11, 11.9, 11, 11.5, 11, 10.1])
    assert len(words(found)) == 3 + 1
    assert words(found)[2].startswith("aux-head, balance.weights.seg=10: no significant difference from the single task: rel -0.9 [")
    picture = ElementTree.parse("out/comparison.svg").getroot()
    paths = [path.attrib["d"] for path in picture.iter("{http://www.w3.org/2000/svg}path")]
    assert [path.count("L") for path in paths] == [2, 1, 2, 1]  # a curve and its key each
    places = [float(point.split(",")[0][1:]) for point in paths[2].split()]
    assert places[1] - places[0] == pytest.approx((places[2] - places[0]) * 0.4771, rel=1e-3)  # by their logarithms


def test_the_single_task_also_trains_as_long_as_each_method(folder: Path) -> None:
    plan = plan_of(budget="time")
    values = {"single-task": SINGLE, "aux-nas-mix": BETTER, "aux-head": MIXED}
    finish(plan, folder / "out", values, {"aux-nas-mix": 35.0, "aux-head": 10.2})
    long = longer(plan.variants[0], 3.5)
    for seed, value in {0: 9.0, 1: 9.5, 2: 9.5}.items():
        finish_cell(long, seed, folder / "out", {"rel": value}, 35.0)
    found = compare(plan, "out")
    assert found.times == {"aux-nas-mix": (3.5, "single-task-21-epochs"), "aux-head": (pytest.approx(1.02), "single-task")}
    assert [row.method for row in found.rows] == ["single-task", "aux-nas-mix", "aux-head", "single-task-21-epochs"]
    assert words(found)[3:] == [
        "aux-nas-mix: no significant difference from single-task-21-epochs, which trains as long (3.5 times the single task): "
        "rel -0.3333 [-2.078, +1.411], p = 0.497, 2 of 3 seeds",
        "± and [] are 95 % t intervals, differences are paired by seed; p is corrected for 3 comparisons (Holm), significant below 0.05",
    ]


def test_it_may_train_as_long_as_one_method_alone(folder: Path) -> None:
    plan = plan_of(budget="time", as_long_as=["aux-head"])
    times = {"aux-nas-mix": 35.0, "aux-head": 20.0}
    finish(plan, folder / "out", {"single-task": SINGLE, "aux-nas-mix": BETTER, "aux-head": MIXED}, times)
    for seed, value in {0: 9.0, 1: 9.5, 2: 9.5}.items():
        finish_cell(longer(plan.variants[0], 2.0), seed, folder / "out", {"rel": value}, 20.0)
    found = compare(plan, "out")
    assert found.times == {"aux-head": (2.0, "single-task-12-epochs")}
    assert [row.method for row in found.rows] == ["single-task", "aux-nas-mix", "aux-head", "single-task-12-epochs"]
    assert read_plan("out") == plan


def test_a_measured_ratio_stays(folder: Path) -> None:
    """Cells that were run as long as a method took are the ones that are meant later, whatever is measured then."""
    plan = plan_of("aux-head", budget="time", seeds=1)
    finish(plan, folder / "out", {"single-task": {0: 1.0}, "aux-head": {0: 1.0}}, {"aux-head": 35.0})
    finish_cell(longer(plan.variants[0], 3.5), 0, folder / "out", {"rel": 1.0}, 35.0)
    compare(plan, "out")
    results = Path("out/cells/aux-head/seed-0/results.json")
    results.write_text(results.read_text().replace("35.0", "80.0"))
    assert compare(plan, "out").times == {"aux-head": (3.5, "single-task-21-epochs")}


def test_cells_with_other_settings_are_refused(folder: Path) -> None:
    plan = plan_of("aux-head", seeds=2)
    finish(plan, folder / "out", {"single-task": SINGLE, "aux-head": BETTER})
    other = plan_of("aux-head", seeds=2, overrides=["training.epochs=8", "training.clip_gradient=1", "runtime.workers=1"])
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    with pytest.raises(gn.ArtifactError) as caught:
        compare(other, "out")
    assert str(caught.value) == "\n".join(
        f"--set training.{field} in the run out/cells/{method}/seed-0, {new} now\n  fix: start again in another folder"
        for method in ("single-task", "aux-head")
        for field, new in (("epochs: training.epochs: 6", 8), ("clip_gradient: training.clip_gradient: nothing", "1.0"))
    )
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before
    moved = Path("out/cells/aux-head/seed-1/spec.json")
    moved.write_bytes(Path("out/cells/aux-head/seed-0/spec.json").read_bytes())
    with pytest.raises(
        gn.ArtifactError, match=r"seed: 0 in the run out/cells/aux-head/seed-1, 1 now\n  fix: start again in another folder$"
    ):
        compare(plan, "out")


def test_more_seeds_and_methods_may_be_asked_for(folder: Path) -> None:
    """Finished cells stay what they are: nothing is run here, or these would not be what was put there."""
    finish(plan_of(seeds=3), folder / "out", {"single-task": SINGLE, "aux-nas-mix": BETTER, "aux-head": MIXED})
    assert len(compare(plan_of("aux-head", seeds=2), "out").rows) == 2
    found = compare(plan_of(seeds=3), "out")
    assert [row.seeds for row in found.rows] == [(0, 1, 2)] * 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda out: out.write_text(""), "out: a file is there, a comparison needs a folder\n  fix: choose another --out"),
        (
            lambda out: (out / "mine").mkdir(parents=True),
            "out: the folder is not empty, and holds no comparison\n  fix: choose another --out",
        ),
    ],
)
def test_folders_that_are_something_else(make: Any, message: str, folder: Path) -> None:
    make(Path("out"))
    with pytest.raises(gn.GraphNASError) as caught:
        compare(plan_of("aux-head"), "out")
    assert str(caught.value) == message


def test_no_processes(folder: Path) -> None:
    with pytest.raises(gn.GraphNASError) as caught:
        compare(plan_of("aux-head"), "out", jobs=0)
    assert str(caught.value) == "--jobs: at least one process is needed, got 0\n  fix: leave --jobs out, or --jobs 1"
    assert not Path("out").exists()


def test_a_method_that_can_not_be_built_is_refused_before_any_training(folder: Path) -> None:
    """Here a random crop that is larger than the images."""
    plan = plan_of("aux-head", overrides=["task_pair.transforms=[{random_crop: [64, 64]}]"])
    with pytest.raises(gn.GraphNASError) as caught:
        compare(plan, "out")
    assert "(method 'single-task')" in caught.value.problems[0].message
    assert "(method 'aux-head')" in caught.value.problems[-1].message
    assert not Path("out").exists()


def test_no_comparison_to_read(folder: Path) -> None:
    with pytest.raises(gn.ArtifactError) as caught:
        read_plan(folder)
    fix = "name a search spec, or the folder of a comparison"
    assert str(caught.value) == f"{folder}: no comparison is there: compare.json is missing\n  fix: {fix}"


def test_another_confidence_has_other_intervals_and_another_line_of_significance(folder: Path) -> None:
    values = {"single-task": SINGLE, "aux-head": BETTER}
    plan = plan_of("aux-head", confidence=0.999)
    finish(plan, folder / "out", values)
    found = compare(plan, "out")
    rel = rows_of(found)["aux-head"].metrics["rel"]
    assert rel.difference is not None
    assert rel.difference.half == pytest.approx(31.599054577 * 0.1 / 3**0.5)  # t of 0.9995 and 2 degrees of freedom
    assert (rel.p, rel.significant) == (rel.difference.p, True)
    assert words(found)[1].startswith("± and [] are 99.9 % t intervals")
    assert words(found)[1].endswith("significant below 0.001")
    assert read_plan("out").confidence == 0.999
