"""Wishes: a run is asked to stop, and its scenario is changed, by a process that does not drive it."""

from __future__ import annotations

import attrs
import pytest

from orchestrator import Scenario, SettingError, UnknownRunError
from tests.support.stores import OTHER, RUN, Place


async def test_the_wish_to_stop_belongs_to_the_present_claims(place: Place) -> None:
    async with place.opened(shards=3) as store:
        await store.claim(RUN, 0, OTHER, 30)
        await store.claim(RUN, 2, OTHER, 30)
        assert await store.ask_to_stop(RUN) == 2
        shards = await store.shards(RUN)
        assert [shard.must_stop for shard in shards] == [True, False, True]
        assert (await store.renew(shards[0], 30)).must_stop
        await store.release([shards[0]])
        again = await store.claim(RUN, 0, OTHER, 30)
        assert not again.must_stop
        assert [shard.must_stop for shard in await store.shards(RUN)] == [False, False, True]


async def test_a_run_that_nobody_drives_is_not_asked(place: Place) -> None:
    async with place.opened() as store:
        assert await store.ask_to_stop(RUN) == 0
        assert not (await store.claim(RUN, 0, OTHER, 30)).must_stop
        with pytest.raises(UnknownRunError):
            await store.ask_to_stop("261124-aaaaaa")


async def test_a_scenario_is_changed_where_it_is_stored(place: Place) -> None:
    async with place.opened() as store:
        before = await store.run(RUN)

        def more(scenario: Scenario) -> Scenario:
            return attrs.evolve(scenario, instances=(scenario.instances or 0) + 1)

        changed = await store.change_scenario(RUN, more)
        again = await store.change_scenario(RUN, more)
        assert changed.scenario == more(before.scenario)
        assert await store.run(RUN) == again == attrs.evolve(before, scenario=more(more(before.scenario)))


async def test_a_change_that_is_refused_changes_nothing(place: Place) -> None:
    async with place.opened() as store:
        before = await store.run(RUN)

        def impossible(scenario: Scenario) -> Scenario:
            raise SettingError("rate", "is impossible")

        with pytest.raises(SettingError):
            await store.change_scenario(RUN, impossible)
        with pytest.raises(UnknownRunError):
            await store.change_scenario("261124-aaaaaa", lambda scenario: scenario)
        assert await store.run(RUN) == before
        assert await store.ask_to_stop(RUN) == 0  # the store can still be written
