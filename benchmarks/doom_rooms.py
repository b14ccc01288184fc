"""Do auxiliary labels help, and at what price? Comparisons on doom-rooms, and docs/results.md of what they come to.

    python -m benchmarks.doom_rooms [--only normals-100 default ...] [--seeds 5] [--jobs 2] [--out FOLDER] [--write PAGE]

Each part is a ``graphnas compare`` in a folder of its own, with settings that stand in benchmarks/rooms: every primary with labels on 100
of its images and on all, the others as auxiliaries with all of theirs; what the default costs, and the authors' procedure; what options do
to results. A finished cell is never run again, so it may be stopped and gone on with. The page is made of the folders that are there,
finished or not; --only without a name runs nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rooms_page import page
from graphnas.compare import Plan, compare, make_plan, read_methods

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ROOT / "benchmarks" / "rooms"
METRICS = {"normals": "mean_angle", "segmentation": "miou", "depth": "rel"}
EPOCHS = {"100": 66, "all": 20}  # 800 updates, and 1200
LABELED = {"100": "{count: 100, seed: run}", "all": "null"}


@dataclass(frozen=True)
class Part:
    """One comparison.

    Args:
        title: On the page.
        methods: File in benchmarks/rooms.
        overrides: ``FIELD=VALUE`` each.
        about: A paragraph under the title.
        as_long_as: Methods whose training time the single task is given too.
    """

    title: str
    methods: str
    overrides: tuple[str, ...]
    about: str = ""
    as_long_as: tuple[str, ...] = ()

    def plan(self, seeds: int) -> Plan:
        """Of ``graphnas compare``."""
        methods, budget = read_methods([], ROOMS / self.methods), "time" if self.as_long_as else "epochs"
        return make_plan(ROOMS / "search.yaml", methods, seeds=seeds, budget=budget, overrides=self.overrides, as_long_as=self.as_long_as)


def of_primary(primary: str, labels: str) -> Part:
    settings = (
        f"primary={primary}",
        f"task_pair.tasks.{primary}.labeled={LABELED[labels]}",
        f"training.epochs={EPOCHS[labels]}",
        f"training.select.metric={METRICS[primary]}",
    )
    count = "100 labeled images" if labels == "100" else "all images labeled"
    return Part(f"{primary.capitalize()}, {count}", "methods.yaml", settings, as_long_as=("aux-nas-mix", "aux-nas-auto"))


TWO_TASKS = (f"task_pair={ROOT / 'examples' / 'quickstart' / 'task_pair.yaml'}", "task_pair.tasks.normals.labeled.seed=run")
PARTS: Mapping[str, Part] = {
    **{f"{primary}-{labels}": of_primary(primary, labels) for labels in LABELED for primary in METRICS},
    "default": Part(
        "The default, and the authors' procedure",
        "default.yaml",
        TWO_TASKS,
        "Normals with 100 labels, segmentation as the auxiliary. `authors` is the published space with alternating updates, the auxiliary's"
        " loss weighing what did best for it in trials, and none of the engine's savings: links stay to the end, heads together, nothing"
        " left out. All pass equally often over the labels of normals, of which alternation gives half to the alphas.",
    ),
    "options": Part(
        "Options that change results",
        "options.yaml",
        TWO_TASKS,
        "Normals with 100 labels, segmentation as the auxiliary; `aux-nas-mix` with one option changed at a time, from joint updates in"
        " float32.",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, help="processes side by side; one a core, if left out")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "doom-rooms")
    parser.add_argument("--write", type=Path, default=ROOT / "docs" / "results.md")
    options = parser.parse_args()
    for name in options.only:
        print(f"== {name}", flush=True)
        compare(
            PARTS[name].plan(options.seeds), options.out / name, jobs=options.jobs, progress=lambda found: print(found.line, flush=True)
        )
    options.write.write_text(page(options.out, {name: (part.title, part.about) for name, part in PARTS.items()}), encoding="utf-8")
    print(f"written: {options.write}")


if __name__ == "__main__":
    main()
