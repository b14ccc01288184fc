"""The parts of a search add up to all of it, each counted once."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.end_to_end import Clock, Part, outside
from benchmarks.measure import Seconds


class Ticking:
    """A clock that is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def test_a_part_inside_another_counts_once() -> None:
    time = Ticking()
    clock = Clock(time, lambda: time() / 2)

    def items() -> Iterator[int]:
        time.pass_by(1)
        yield 1
        time.pass_by(2)

    def opened() -> None:
        time.pass_by(16)

    def epoch() -> None:
        time.pass_by(4)
        for _ in clock.drawn("data", items)():
            clock.timed("updates", time.pass_by)(8)
            clock.timed("opened", opened, once=True)()

    with clock.part("rest"):
        clock.epoch("loop", epoch)()
        clock.timed("updates", time.pass_by)(32)
        time.pass_by(64)
    walls = {part: seconds.wall for part, seconds in clock.seconds.items()}
    assert walls == {
        Part(True, "data"): 3, Part(True, "updates"): 8, Part(True, "loop"): 4,
        Part(False, "opened"): 16, Part(False, "updates"): 32, Part(False, "rest"): 64,
    }  # fmt: skip
    assert sum(walls.values()) == time.now == 2 * sum(seconds.busy for seconds in clock.seconds.values())


def test_shares_are_of_processor_time_outside_of_what_computes() -> None:
    seconds = {Part(True, "updates"): Seconds(9, 6), Part(True, "logs"): Seconds(9, 2), Part(False, "artifact"): Seconds(9, 8)}
    assert outside(seconds, lambda part: float(part.within)) == 2 / 8
    assert outside(seconds, lambda part: 1.0) == 10 / 16
    assert outside(seconds, lambda part: 3.0 if part.within else 1.0) == 14 / 32
