"""Owners, leases and the rules of a claim."""

from __future__ import annotations

import os

import attrs
import pytest

from orchestrator import LeaseHeldError, RunStatus, Shard
from orchestrator.storage.lease import Owner, is_gone, this_process
from orchestrator.storage.rules import claimed, outdated_event, run_status
from tests.support.stores import NOW, OTHER, RUN


def test_a_lease_is_claimed_when_it_has_run_out_or_its_owner_is_gone() -> None:
    me, free = this_process(), Shard(run_id=RUN, epoch=3)
    mine = claimed(free, me, 30, NOW)
    assert (mine.epoch, mine.owner, mine.lease_until) == (4, me.dumps(), NOW + 30)
    with pytest.raises(LeaseHeldError):
        claimed(mine, OTHER, 30, NOW + 29.9)
    assert claimed(mine, OTHER, 30, NOW + 30).epoch == 5
    gone = attrs.evolve(mine, owner=attrs.evolve(me, started="1").dumps())
    assert claimed(gone, OTHER, 30, NOW).epoch == 5


@pytest.mark.parametrize(
    ("shards", "meanwhile", "status"),
    [
        ("done done", RunStatus.RUNNING, RunStatus.FINISHED),
        ("done driven", RunStatus.RUNNING, RunStatus.RUNNING),
        ("done free", RunStatus.RUNNING, RunStatus.INTERRUPTED),
        ("done lapsed", RunStatus.RUNNING, RunStatus.INTERRUPTED),
        ("done gone", RunStatus.RUNNING, RunStatus.INTERRUPTED),
        ("done free", RunStatus.CLEANING_UP, RunStatus.CLEANING_UP),
        ("done done", RunStatus.RETRYING, RunStatus.FINISHED),
    ],
)
def test_the_status_of_a_run_follows_from_its_shards(shards: str, meanwhile: RunStatus, status: RunStatus) -> None:
    me = this_process()
    kinds = {
        "done": {"done": True},
        "free": {},
        "driven": {"owner": me.dumps(), "lease_until": NOW + 1},
        "lapsed": {"owner": me.dumps(), "lease_until": NOW - 1},
        "gone": {"owner": attrs.evolve(me, started="1").dumps(), "lease_until": NOW + 1},
    }
    made = [Shard(run_id=RUN, index=index, of=2, **kinds[name]) for index, name in enumerate(shards.split())]
    assert run_status(made, meanwhile, NOW) is status


def test_owners_are_told_apart_and_found_dead() -> None:
    me = this_process()
    assert not is_gone(attrs.evolve(me, namespace="of another container", started="1"))
    assert Owner.loads(me.dumps()) == me
    assert not is_gone(me)
    assert is_gone(attrs.evolve(me, started="1"))
    # A container moved to another machine keeps its host's name; its lease has to expire.
    assert not is_gone(attrs.evolve(me, boot_id="another boot"))
    assert not is_gone(attrs.evolve(me, host="elsewhere", pid=1))
    child = os.fork()
    if child == 0:
        os._exit(0)
    dead = attrs.evolve(me, pid=child)
    os.waitpid(child, 0)
    assert is_gone(dead)


def test_a_process_that_the_kernel_hides_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """``/proc`` mounted with ``hidepid`` hides another user's processes."""

    def kill(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    me = this_process()
    assert not is_gone(attrs.evolve(me, pid=2**22 + 1))


def test_a_history_loses_the_events_between_its_beginning_and_its_end() -> None:
    assert [outdated_event(seq) for seq in (1, 200, 201, 1000)] == [None, None, 101, 900]
