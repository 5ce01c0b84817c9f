"""A command that gets more processes than it can use says why."""

from __future__ import annotations

import attrs
import pytest

from orchestrator import Shard
from orchestrator.cli.continuing import few_shards

SHARD = Shard(run_id="r", index=0, of=4, epoch=1, owner=None, lease_until=0.0, done=False)


@pytest.mark.parametrize(
    ("open_ones", "done", "processes", "said"),
    [
        (1, 0, 2, "has 1 shard left, so one process drives it"),
        (1, 3, 1, "has 1 shard left, so one process drives it"),
        (2, 2, 3, "has 2 shards left, so 2 processes drive them"),
        (0, 1, 2, "has 1 shard left"),
    ],
    ids=["started by one process", "one left for a cluster", "two left", "a clean-up drives finished ones"],
)
def test_too_few_shards_are_mentioned(open_ones: int, done: int, processes: int, said: str) -> None:
    assert said in few_shards([SHARD] * open_ones + [attrs.evolve(SHARD, done=True)] * done, processes)


@pytest.mark.parametrize(("left", "processes"), [(2, 2), (8, 2), (2, 1)])
def test_enough_shards_are_not_mentioned(left: int, processes: int) -> None:
    assert not few_shards([SHARD] * left, processes)
