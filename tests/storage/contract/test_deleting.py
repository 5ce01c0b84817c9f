"""Deleting runs: what needs a run keeps it, and a deleted one leaves nothing."""

from __future__ import annotations

import attrs
import pytest

from orchestrator import RunExistsError, RunStatus, Status, Store, UnknownRunError
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.lease import this_process
from orchestrator.storage.records import Save, Shard
from tests.support.stores import OTHER, RUN, Place, checkpoint, event, record


async def finished(store: Store, *instances: tuple[Status, tuple[str, ...] | None]) -> Shard:
    """Finish ``RUN`` with these instances: status, and kinds of the effects that exist."""
    shard = await store.claim(RUN, 0, OTHER, 30)
    for number, (status, effects) in enumerate(instances):
        await store.save(
            Save(shard, attrs.evolve(checkpoint(number, status), effects=effects, evidence=b"e"), [event(number, 1)])
        )
    await store.release([shard], [0], RunStatus.RUNNING)
    return shard


async def kept(store: Store) -> str:
    """Try to delete ``RUN``, which stays; the reason."""
    before = await store.run(RUN)
    obstacle = (await store.delete_run(RUN)).obstacle()
    assert await store.run(RUN) == before
    assert (await store.usage(RUN)).obstacle() == obstacle is not None
    return obstacle


async def test_an_unknown_run_cannot_be_deleted(place: Place) -> None:
    async with place.opened() as store:
        with pytest.raises(UnknownRunError, match="run nothing is not in"):
            await store.delete_run("nothing")
        with pytest.raises(UnknownRunError):
            await store.usage("nothing")


async def test_a_run_that_is_not_finished_is_kept(place: Place) -> None:
    async with place.opened() as store:
        assert await kept(store) == "it is running; resume it, or clean it up"


async def test_a_finished_run_that_a_process_drives_again_is_kept(place: Place) -> None:
    async with place.opened() as store:
        await finished(store, (Status.FAILED, ()))
        await store.claim(RUN, 0, OTHER, 30)
        assert await kept(store) == "process 7 on elsewhere drives it"
        place.clock.time += 31
        assert (await store.delete_run(RUN)).obstacle() is None


@pytest.mark.parametrize(
    ("status", "effects"),
    [
        pytest.param(Status.COMPLETED, ("user",), id="kept on success"),
        pytest.param(Status.FAILED, ("user", "app"), id="kept on failure"),
        pytest.param(Status.ROLLBACK_FAILED, ("app",), id="leftover"),
        pytest.param(Status.COMPLETED, None, id="not counted"),
    ],
)
async def test_a_run_whose_effects_may_exist_is_kept(place: Place, status: Status, effects: tuple[str, ...] | None) -> None:
    async with place.opened() as store:
        await finished(store, (Status.ROLLED_BACK, ()), (status, effects))
        assert await kept(store) == f"1 instance has effects that may exist; `orchestrator cleanup {RUN}` removes them"


async def test_a_run_that_another_one_reuses_is_kept_until_that_is_deleted(place: Place) -> None:
    async with place.opened() as store:
        await finished(store, (Status.COMPLETED, ()))
        reusing = record("reusing", status=RunStatus.FINISHED, scenario=Scenario(instances=1, rounds=2, reuse=RUN))
        await store.create_run(reusing, {})
        assert await kept(store) == "run reusing reuses its instances"
        assert (await store.usage(RUN)).obstacle(deleted=["reusing"]) is None
        assert (await store.delete_run("reusing")).obstacle() is None
        assert (await store.delete_run(RUN)).obstacle() is None


async def test_a_run_cannot_reuse_one_that_was_deleted(place: Place) -> None:
    async with place.opened() as store:
        await finished(store, (Status.COMPLETED, ()))
        await store.delete_run(RUN)
        with pytest.raises(UnknownRunError, match=RUN):
            await store.create_run(record("reusing", scenario=Scenario(instances=1, rounds=2, reuse=RUN)), {})
        assert (await store.runs()).total == 0


@pytest.mark.parametrize("swept", [False, True])
async def test_a_deleted_run_leaves_nothing_for_a_later_one_with_its_id(place: Place, swept: bool) -> None:
    async with place.opened() as store:
        shard = await finished(store, *[(Status.COMPLETED, ())] * 3)
        again = await store.claim(RUN, 0, OTHER, 30)
        await store.save_pause(again, "group", 5.0)
        await store.save_statistics([again], {0: b"window"}, [], 1.0)
        await store.release([again], [0])
        assert (await store.delete_run(RUN)).obstacle() is None
        if swept:
            await store.sweep()
        with pytest.raises(UnknownRunError):
            await store.run(RUN)
        with pytest.raises(UnknownRunError):
            await store.claim(RUN, 0, this_process(), 30)
        assert await store.shards(RUN) == []
        await store.create_run(record(), {})
        assert (await store.load(RUN), await store.counts(RUN), await store.statistics(RUN), await store.pauses(RUN)) == (
            [],
            {},
            [],
            {},
        )
        assert (await store.events(RUN, 0), await store.evidence(RUN, 0)) == ([], [])
        assert (await store.shards(RUN))[0].epoch < shard.epoch


async def test_deleting_a_run_changes_no_other(place: Place) -> None:
    async with place.opened() as store:
        await finished(store, (Status.COMPLETED, ()))
        await store.create_run(record("other"), {})
        shard = await store.claim("other", 0, OTHER, 30)
        other = Save(
            shard, attrs.evolve(checkpoint(0), run_id="other", evidence=b"e"), [attrs.evolve(event(0, 1), run_id="other")]
        )
        await store.save(other)
        await store.delete_run(RUN)
        await store.sweep()
        assert [row.body for row in await store.load("other")] == [b"{}"]
        assert (len(await store.events("other", 0)), await store.evidence("other", 0)) == (1, [b"e"])


async def test_a_second_run_with_an_id_is_refused_and_changes_nothing(place: Place) -> None:
    async with place.opened(shards=2) as store:
        with pytest.raises(RunExistsError, match=f"run {RUN} is in") as refused:
            await store.create_run(record(workflow="other"), {}, claim=[0], owner=OTHER, lease_s=30)
        assert refused.value.run_id == RUN
        assert await store.run(RUN) == record()
        assert [shard.owner for shard in await store.shards(RUN)] == [None, None]
