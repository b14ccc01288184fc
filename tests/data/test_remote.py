"""Shards behind URLs: what is read is what the files hold, kept as far as there is room, and no path is ever a command."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphnas.data import open_data
from graphnas.data.base import FileLayout, Records
from graphnas.data.remote import GIB
from graphnas.data.webdataset import WebDataset
from graphnas.errors import DataError
from tests.data.builders import load, samples, write_tar

PER_SHARD = 4
SHARDS = 6


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and counts what was read to its end."""

    fetched: Counter[str] = Counter()
    broken: Counter[str] = Counter()

    def do_GET(self) -> None:
        name = Path(self.path).name
        if self.broken[name] > 0 and "Range" not in self.headers:
            self.broken[name] -= 1
            self.send_error(503)
            return
        if "Range" not in self.headers:
            self.fetched[name] += 1
        super().do_GET()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked has seen enough
            super().copyfile(source, outputfile)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    everything = samples(PER_SHARD * SHARDS)
    names = list(everything)
    for shard in range(SHARDS):
        part = names[shard * PER_SHARD : (shard + 1) * PER_SHARD]
        write_tar(tmp_path / "www" / f"rooms-{shard}.tar", {name: everything[name] for name in part})
    Handler.fetched.clear()
    Handler.broken.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "www")))
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def layout(train: str, tmp_path: Path, **fields: Any) -> FileLayout:
    return WebDataset.model_validate({"layout": "webdataset", "train": train, "kept_in": str(tmp_path / "kept"), **fields})


def size_of(tmp_path: Path) -> int:
    return (tmp_path / "www" / "rooms-0.tar").stat().st_size


def assert_same(found: Records, expected: Records) -> None:
    assert found.ids == expected.ids
    for index in range(len(expected.ids)):
        assert set(found.keys(index)) == set(expected.keys(index))
        assert np.array_equal(np.asarray(found.read(index, "img.png")), np.asarray(expected.read(index, "img.png")))
        assert found.field(index, "map") == expected.field(index, "map")


def kept(tmp_path: Path) -> int:
    return sum(file.stat().st_size for file in (tmp_path / "kept").glob("*.tar"))


def test_all_that_fits_is_fetched_once(served: str, tmp_path: Path) -> None:
    expected = layout(f"{tmp_path}/www/rooms-{{0..5}}.tar", tmp_path).open("train")
    found = layout(f"{served}/rooms-{{0..5}}.tar", tmp_path).open("train")
    assert_same(found, expected)
    assert {found.shard(index) for index in range(len(found.ids))} == {None}
    assert_same(layout(f"{served}/rooms-{{0..5}}.tar", tmp_path).open("train"), expected)
    assert Handler.fetched == {f"rooms-{shard}.tar": 1 for shard in range(SHARDS)}
    assert found.file(5, "img.png") == f"{served}/rooms-1.tar: 0005.img.png"


def test_what_does_not_fit_is_streamed(served: str, tmp_path: Path) -> None:
    expected = layout(f"{tmp_path}/www/rooms-{{0..5}}.tar", tmp_path).open("train")
    room = 2.5 * size_of(tmp_path)
    found = layout(f"{served}/rooms-{{0..5}}.tar", tmp_path, keep_gib=room / GIB).open("train")
    assert kept(tmp_path) == 0  # an index was made while they passed by
    assert_same(found, expected)
    assert 0 < kept(tmp_path) <= room
    assert found.shard(5) == f"{served}/rooms-1.tar"
    assert Handler.fetched == {f"rooms-{shard}.tar": 2 for shard in range(SHARDS)}
    assert_same(layout(f"{served}/rooms-{{0..5}}.tar", tmp_path, keep_gib=room / GIB).open("train"), expected)
    assert max(Handler.fetched.values()) == 3  # the index was kept


def pair(train: str, tmp_path: Path, **fields: Any) -> Any:
    return load(tmp_path, sources={"rooms": {"layout": "webdataset", "train": train, "kept_in": str(tmp_path / "kept"), **fields}})


def epoch(data: Any, number: int, **options: Any) -> list[str]:
    return [name for batch in data.training(number, batch_size=3, **options) for name in batch.ids]


@pytest.mark.parametrize("remote", [False, True])
def test_samples_are_drawn_by_shards(remote: bool, served: str, tmp_path: Path) -> None:
    where = served if remote else f"{tmp_path}/www"
    fields = {"keep_gib": 1.5 * size_of(tmp_path) / GIB} if remote else {"shuffle": "shards"}
    data = open_data(pair(f"{where}/rooms-{{0..5}}.tar", tmp_path, **fields), seed=0)
    first, second = epoch(data, 0), epoch(data, 1)
    whole = epoch(open_data(pair(f"{tmp_path}/www/rooms-*.tar", tmp_path), seed=0), 0)
    assert first != second
    assert set(first) <= {f"rooms/{name}" for name in samples(PER_SHARD * SHARDS)}
    assert len(set(first)) == len(first) == len(whole)
    together = 1 if remote else 4
    shards = [int(name.removeprefix("rooms/")) // PER_SHARD for name in first]
    groups = [number // together for number in map(list(dict.fromkeys(shards)).index, shards)]
    assert groups == sorted(groups)
    assert first == epoch(data, 0)


def test_the_same_batches_from_files_and_from_urls(served: str, tmp_path: Path) -> None:
    local = open_data(pair(f"{tmp_path}/www/rooms-{{0..5}}.tar", tmp_path), seed=3)
    remote = open_data(pair(f"{served}/rooms-{{0..5}}.tar", tmp_path), seed=3)
    assert local.sizes()["training"] == remote.sizes()["training"]
    for a, b in zip(local.training(0, batch_size=4), remote.training(0, batch_size=4, workers=2), strict=True):
        assert a.ids == b.ids
        assert torch.equal(a.inputs["image"], b.inputs["image"])


def test_samples_from_everywhere_want_all_of_it(served: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        layout(f"{served}/rooms-{{0..5}}.tar", tmp_path, keep_gib=size_of(tmp_path) / GIB, shuffle="samples").open("train")
    size = size_of(tmp_path) / GIB
    assert str(raised.value) == (
        f"{served}/rooms-{{0..5}}.tar: {6 * size:.3g} GiB, and {size:g} are kept: samples can't be drawn from all at random\n"
        f"  fix: keep_gib: {6 * size * 1.01:.3g}, or shuffle: shards"
    )


def test_a_server_that_fails_now_and_then(served: str, tmp_path: Path) -> None:
    Handler.broken["rooms-0.tar"] = 2
    assert len(layout(f"{served}/rooms-0.tar", tmp_path).open("train").ids) == PER_SHARD


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "{served}/none.tar",
            "{served}/none.tar: can't be fetched: 404 File not found\n  fix: check the address, and --resume where a run has begun",
        ),
        (
            "{served}/rooms-*.tar",
            "{served}/rooms-*.tar: what there is at an address is not known\n  fix: a range such as train-{{000..011}}.tar instead of *",
        ),
        (
            "{served}/page.html",
            "{served}/page.html: not a tar file that can be read: invalid header\n"
            "  fix: unpack it to a plain .tar: members are read by their place",
        ),
        *(
            (
                path,
                f"{path}: shards are read from files and from the web, and no command is ever run\n"
                "  fix: an https:// address, or fetch the shards and name the files",
            )
            for path in ("pipe:touch HERE", "s3://rooms/train.tar", "file:///etc/passwd")
        ),
    ],
)
def test_refusals(path: str, message: str, served: str, tmp_path: Path) -> None:
    (tmp_path / "www" / "page.html").write_text("<html>" * 1000)
    with pytest.raises(DataError) as raised:
        layout(path.format(served=served), tmp_path).open("train")
    assert str(raised.value) == message.format(served=served)
    assert not Path("HERE").exists()


def test_a_url_is_no_path_of_this_disk() -> None:
    written = {"layout": "webdataset", "train": "https://host/a.tar", "test": "pipe:curl x"}
    assert WebDataset.model_validate(written).model_dump(include={"layout", "train", "test"}) == written
