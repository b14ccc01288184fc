"""``gates.jsonl`` and ``gradients.jsonl`` of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphnas as gn
from graphnas.search.progress import Progress
from graphnas.search.recorder import read_gates, read_gradients, read_links

MODEL = Path("artifact", "model.safetensors")
P2A = ("depth:act1->seg:act1", "depth:act2->seg:act2")


class _Killed(Exception):
    pass


def test_watching_changes_nothing_and_a_resume_writes_the_same(make_spec: Callable[..., gn.SearchSpec], data: Any, tmp_path: Path) -> None:
    few = {"training.epochs": 2, "baseline": "none"}
    gn.search(make_spec(few), data=data, out=tmp_path / "plain")
    spec = make_spec({**few, "runtime.log_gradients": {"steps": 3}})
    gn.search(spec, data=data, out=tmp_path / "watched")
    assert (tmp_path / "plain" / MODEL).read_bytes() == (tmp_path / "watched" / MODEL).read_bytes()
    assert not (tmp_path / "plain" / "gradients.jsonl").exists()

    gates = read_gates(tmp_path / "plain")
    assert list(gates) == ["search"]
    assert [step for step, _ in gates["search"]] == [4, 8]
    links = read_links(tmp_path / "plain")
    assert [links[link] for link in P2A] == [{"id": link, "direction": "p2a", "operations": ["conv1x1"]} for link in P2A]
    assert gates["search"][0][1].keys() == links.keys()
    measured = read_gradients(tmp_path / "watched")["search"]
    assert [step for step, _ in measured] == [3, 6]
    assert {(row.task, row.tap) for row in measured[0][1]} == {("seg", "act1"), ("seg", "act2"), ("seg", None)}
    assert all(row.cosine is not None and -1 <= row.cosine <= 1 for _, rows in measured for row in rows)

    def kill(progress: Progress) -> None:
        if progress.step == 7 and progress.phase == "search":
            raise _Killed

    try:
        gn.search(spec, data=data, out=tmp_path / "again", progress=kill)
    except _Killed:
        gn.search(spec, data=data, out=tmp_path / "again", resume=True)
    assert (tmp_path / "again" / "gradients.jsonl").read_bytes() == (tmp_path / "watched" / "gradients.jsonl").read_bytes()
    assert read_gates(tmp_path / "again") == gates
