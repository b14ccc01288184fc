"""``on_error: skip``: what can't be used is left out, named, and not too much of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphnas.data import Data, open_data
from graphnas.errors import DataError
from tests.data.builders import SEGMENTATION, load, message, png, sample, write_tar

COUNT = 120
BROKEN = ("0007", "0090")


def damaged(names: tuple[str, ...] = BROKEN) -> dict[str, dict[str, bytes]]:
    content = {f"{number:04d}": sample(number) for number in range(COUNT)}
    for place, name in enumerate(names):
        if place % 2:
            content[name]["seg.png"] = png(np.full((6, 8), 9, np.uint8))  # a class out of range
        else:
            content[name]["img.png"] = content[name]["img.png"][:-30]  # truncated
    return content


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Data]:
    def of(names: tuple[str, ...] = BROKEN, on_error: str = "skip", **changes: Any) -> Data:
        write_tar(tmp_path / "rooms.tar", damaged(names))
        write_tar(tmp_path / "good.tar", {"0000": sample(0)})
        source = {"layout": "webdataset", "train": "rooms.tar", "validation": "good.tar", "on_error": on_error}
        pair = load(tmp_path, sources={"rooms": source}, tasks={"segmentation": SEGMENTATION}, primary="segmentation", **changes)
        return open_data(pair, seed=0)

    return of


def ids(data: Data, workers: int = 0) -> list[str]:
    return [name for batch in data.evaluation("training", 8, workers) for name in batch.ids]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with fewer cores
@pytest.mark.parametrize("workers", [0, 2])
def test_one_in_a_hundred_is_left_out(opened: Callable[..., Data], workers: int, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    data = opened(("0090",))
    with caplog.at_level(logging.WARNING, "graphnas.data"):
        names = ids(data, workers)
    assert names == [f"rooms/{number:04d}" for number in range(COUNT) if number != 90]
    reason = f"{tmp_path}/rooms.tar: 0090.img.png: corrupt image: image file is truncated"
    assert caplog.messages == [f"rooms/0090 is left out: {reason}"]
    assert data.skipped == {"rooms/0090": reason}
    caplog.clear()
    ids(data, workers)
    assert caplog.messages == []  # each is named once


def test_a_training_batch_is_the_same_without_it(opened: Callable[..., Data]) -> None:
    data, whole = opened(("0090",)), opened(())
    for with_holes, all_there in zip(data.training(0, batch_size=8), whole.training(0, batch_size=8), strict=True):
        kept = [row for row, name in enumerate(all_there.ids) if name != "rooms/0090"]
        assert list(with_holes.ids) == [all_there.ids[row] for row in kept]
        assert with_holes.inputs["image"].equal(all_there.inputs["image"][kept])
        assert with_holes.targets["segmentation"].equal(all_there.targets["segmentation"][kept])
        assert with_holes.rows["segmentation"].tolist() == list(range(len(kept)))


def test_more_than_one_in_a_hundred(opened: Callable[..., Data], tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        ids(opened())
    assert message(raised.value, tmp_path) == (
        "pair.yaml:8:15: sources.rooms.on_error: 2 of 120 samples for train can't be used, more than 1 %: rooms/0007, rooms/0090;"
        " the first: rooms.tar: 0007.img.png: corrupt image: image file is truncated\n"
        "  fix: mend or remove them"
    )


def test_an_error_where_nothing_is_said(opened: Callable[..., Data], tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        ids(opened(on_error="error"))
    assert message(raised.value, tmp_path) == (
        "pair.yaml:11:10: inputs.image.key: rooms.tar: 0007.img.png: corrupt image: image file is truncated\n"
        "  fix: restore the file, or remove the sample"
    )


def test_the_first_sample_may_be_the_broken_one(opened: Callable[..., Data]) -> None:
    data = opened(("0000",))
    assert list(data.skipped) == ["rooms/0000"]  # found when the data were opened
    assert str(data.input_types()["image"]) == "image[3, 6, 8]"


def test_a_batch_of_nothing(opened: Callable[..., Data], tmp_path: Path) -> None:
    data = opened(("0090",))
    assert len(ids(data)) == COUNT - 1
    assert [len(batch.ids) for batch in data.evaluation("training", 1)] == [1] * (COUNT - 1)
    with pytest.raises(DataError) as raised:
        list(data.training(0, batch_size=1))
    assert message(raised.value, tmp_path) == (
        "no sample of a batch can be used; the first: rooms.tar: 0090.img.png: corrupt image: image file is truncated\n"
        "  fix: mend or remove them, or a larger batch_size"
    )
