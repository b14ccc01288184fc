"""Draws by hash: nested, independent of order, whole groups."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from graphnas.data.splits import cut, shuffled

NAMES = st.lists(st.text("abcdef", min_size=1, max_size=4), unique=True, min_size=1, max_size=40)


@given(NAMES, st.integers(0, 5), st.randoms())
def test_a_draw_does_not_depend_on_the_order_of_names(names: list[str], seed: int, random: object) -> None:
    again = list(names)
    random.shuffle(again)  # pyright: ignore[reportAttributeAccessIssue]
    assert shuffled(names, seed) == shuffled(again, seed)
    assert sorted(shuffled(names, seed)) == sorted(names)


@given(NAMES, st.integers(0, 5))
def test_a_sample_more_leaves_the_others_in_their_order(names: list[str], seed: int) -> None:
    assert [name for name in shuffled([*names, "new"], seed) if name != "new"] == shuffled(names, seed)


def test_seeds_differ() -> None:
    names = [str(number) for number in range(50)]
    assert shuffled(names, 0) != shuffled(names, 1)
    assert shuffled(names, "a", 0) != shuffled(names, "b", 0)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.floats(0.05, 0.95), st.integers(0, 3))
def test_a_cut_takes_whole_groups(groups: list[int], fraction: float, seed: int) -> None:
    taken = cut(groups, fraction, seed)
    chosen = {group for group, apart in zip(groups, taken, strict=True) if apart}
    assert chosen
    assert all((group in chosen) == apart for group, apart in zip(groups, taken, strict=True))
    largest = max(groups.count(group) for group in groups)
    assert len(chosen) == 1 or abs(sum(taken) - fraction * len(groups)) <= largest


def test_a_cut_of_single_samples_is_exact() -> None:
    assert sum(cut(range(100), 0.2, 0)) == 20
    assert cut(range(100), 0.2, 0) != cut(range(100), 0.2, 1)


def test_the_smallest_group_where_all_are_too_large() -> None:
    assert cut(["a"] * 50 + ["b"] * 30, 0.1, 0) == [False] * 50 + [True] * 30
