"""Runs: records, definitions, reports."""

from __future__ import annotations

import attrs
import pytest

from orchestrator import UnknownRunError
from tests.support.stores import RUN, Place, record


async def test_a_run_is_read_back_as_it_was_stored(place: Place) -> None:
    async with place.opened() as store:
        assert await store.run(RUN) == record()
        assert await store.fingerprints("d1") == {"one": "f1"}
        assert await store.fingerprints("unknown") == {}
        with pytest.raises(UnknownRunError, match="261123-zzzzzz"):
            await store.run("261123-zzzzzz")


async def test_the_reports_of_a_run_are_replaced_and_nothing_else_of_it(place: Place) -> None:
    async with place.opened() as store:
        before = await store.run(RUN)
        await store.set_reports(RUN, {"junit": "/tmp/x.xml"})
        assert await store.run(RUN) == attrs.evolve(before, reports={"junit": "/tmp/x.xml"})
        with pytest.raises(UnknownRunError):
            await store.set_reports("261123-zzzzzz", {})
