"""Leases of a run: taken over, expired, and held while services open and close."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest

from orchestrator import (
    LeaseExpiredError,
    LeaseHeldError,
    PermanentError,
    RunStatus,
    ServiceContext,
    StaleEpochError,
    StoreError,
    Vault,
    cleanup,
    resume,
)
from orchestrator.storage.lease import Owner
from orchestrator.storage.memory import MemoryStore
from tests.support.clock import SPEED
from tests.support.runs import finish
from tests.support.toy import Ledger, fast, toy
from tests.support.waiting import until


class Late:
    """The store's clock after our lease has expired."""

    def now(self) -> float:
        return time.time() + 3600


async def test_a_run_that_is_taken_over_stops_and_writes_nothing_more(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()

    async def take_over(step: Any) -> None:
        store._clock = Late()
        await store.claim(step.run_id, 0, Owner(host="elsewhere", boot_id="", pid=1, started=""), 1000)

    ledger.script = {"run two": [take_over]}
    with pytest.raises(StaleEpochError, match="taken over"):
        await finish(toy(ledger), store, vault)
    run_id = (await store.runs()).runs[0].id
    assert (await store.load(run_id))[0].position == "two"
    with pytest.raises(LeaseHeldError, match="process 1 on elsewhere"):
        async with resume(toy(ledger), run_id, store=store, options=fast(vault)):
            pass


def has_expired(ledger: Ledger) -> bool:
    """Whether the services of the workflow would stop a request now."""
    assert ledger.opening is not None
    try:
        ledger.opening.check_lease()
    except LeaseExpiredError:
        return True
    return False


async def test_a_lease_that_ran_out_stops_before_the_next_attempt(vault: Vault) -> None:
    class Unreachable(MemoryStore):
        async def renew(self, *args: Any, **more: Any) -> Any:
            raise StoreError("unreachable")

    ledger = Ledger()
    ledger.script = {"run one": [lambda step: until(lambda: has_expired(ledger))]}
    with pytest.raises(LeaseExpiredError, match="expired"):
        await finish(toy(ledger), Unreachable(), vault, options=fast(vault, lease_s=0.1 * SPEED))
    assert ledger.calls == ["run one"]


async def test_services_get_a_guard_that_stops_requests_of_a_late_process(vault: Vault) -> None:
    ledger = Ledger()
    raised = []

    async def wait_and_ask(step: Any) -> None:
        await until(lambda: has_expired(ledger))
        assert ledger.opening is not None
        try:
            ledger.opening.check_lease()
        except LeaseExpiredError as error:
            raised.append(error)
            raise

    class Unreachable(MemoryStore):
        async def renew(self, *args: Any, **more: Any) -> Any:
            await anyio.sleep_forever()

    ledger.script = {"run one": [wait_and_ask]}
    with pytest.raises(LeaseExpiredError):
        await finish(toy(ledger), Unreachable(), vault, options=fast(vault, lease_s=0.1 * SPEED))
    assert raised


async def test_slow_services_do_not_cost_the_lease(vault: Vault) -> None:
    class Renewed(MemoryStore):
        times = 0

        async def renew(self, *args: Any, **more: Any) -> Any:
            self.times += 1
            return await super().renew(*args, **more)

    closed: list[bool] = []
    store = Renewed()

    @asynccontextmanager
    async def slow(settings: object, opening: ServiceContext) -> AsyncIterator[Ledger]:
        # A new run is stored after its services have opened: it has no lease before.
        if (await store.runs()).runs:
            await renewals(2)
        yield ledger
        await renewals(2)
        run = (await store.runs()).runs[0]
        closed.append((await store.shards(run.id))[0].owner is not None)

    async def renewals(number: int) -> None:
        before = store.times
        await until(lambda: store.times >= before + number)

    ledger = Ledger(script={"run two": [PermanentError("no")]})
    workflow = attrs.evolve(toy(ledger), open_services=slow)
    options = fast(vault, lease_s=1.0 * SPEED)  # a busy machine holds up its renewal for less
    _, result = await finish(workflow, store, vault, on_failure="keep", options=options)
    async with cleanup(workflow, result.run_id, store=store, options=options) as run:
        assert (await run.wait()).status is RunStatus.FINISHED
    assert closed == [True, True], "the lease was given up before the services were closed"
