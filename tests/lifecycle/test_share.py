"""A split run: every instance, place and arrival belongs to exactly one process, in any split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.lifecycle.share import Share


@st.composite
def splits(draw: st.DrawFn) -> list[Share]:
    """The shards of a run, divided among some processes."""
    of = draw(st.integers(1, 7))
    owners = draw(st.lists(st.integers(0, 3), min_size=of, max_size=of))
    parts = [[shard for shard in range(of) if owners[shard] == owner] for owner in set(owners)]
    return [Share(part, of) for part in parts]


@given(splits(), st.integers(0, 200))
def test_every_number_is_in_one_share(shares: list[Share], number: int) -> None:
    assert sum(share.owns(number) for share in shares) == 1


@given(splits(), st.integers(0, 200))
def test_the_parts_of_a_count_add_up(shares: list[Share], count: int) -> None:
    assert sum(share.part(count) for share in shares) == count
    for share in shares:
        assert share.part(count) == sum(share.owns(number) for number in range(count))


@given(splits(), st.integers(0, 200))
def test_the_nth_number_of_a_share_has_so_many_before_it(shares: list[Share], count: int) -> None:
    for share in shares:
        assert share.owns(share.nth(count))
        assert share.part(share.nth(count)) == count


@given(st.integers(1, 7), st.integers(0, 200))
def test_a_process_with_all_shards_equals_one_without_shards(of: int, count: int) -> None:
    everything = Share(range(of), of)
    assert everything.is_all
    assert everything.nth(count) == everything.part(count) == count


@pytest.mark.parametrize(("indices", "of"), [((), 2), ((2,), 2), ((-1,), 2), ((0,), 0)])
def test_a_shard_that_is_not_there_is_refused(indices: tuple[int, ...], of: int) -> None:
    with pytest.raises(ValueError, match="not shards of"):
        Share(indices, of)
