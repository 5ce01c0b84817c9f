"""The buttons of the page of an instance: roll back, and why it cannot be."""

from __future__ import annotations

from html import unescape

import pytest

from orchestrator import PermanentError, RunStatus, Status, Store, Vault, open_store, start
from orchestrator.web.settings import WebSettings
from tests.support.page import page_of
from tests.support.runs import stopped_after
from tests.support.toy import Ledger, fast, toy
from tests.web.test_controls import ToyPlanner, driving_page, settled

BUTTON = 'value="cleanup"'


async def two_kept(ledger: Ledger, store: Store, vault: Vault) -> str:
    async with start(toy(ledger), store=store, instances=2, on_failure="keep", options=fast(vault)) as run:
        await run.wait()
    return run.id


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example"])
async def test_a_form_of_another_site_rolls_nothing_back(vault: Vault, origin: str | None) -> None:
    ledger, headers = Ledger(), {} if origin is None else {"Origin": origin}
    async with open_store("memory:") as store:
        run_id = await two_kept(ledger, store, vault)
        async with driving_page(store, vault, toy(ledger), fast(vault)) as page:
            answer = await page.post(f"/runs/{run_id}/instances/1", {"action": "cleanup"}, headers=headers)
            assert answer.status == 403
            assert not page.site.drives.running
    assert len(ledger.existing) == 6


async def test_a_read_only_page_offers_no_rollback_and_says_why(vault: Vault) -> None:
    ledger, settings = Ledger(), WebSettings(port=0, read_only=True)
    workflow = toy(ledger)
    async with open_store("memory:") as store:
        run_id = await two_kept(ledger, store, vault)
        planner = ToyPlanner(workflow, store, fast(vault))
        async with page_of(store, vault, workflow, settings=settings, planner=planner) as page:
            shown = (await page.get(f"/runs/{run_id}/instances/1")).text
            assert BUTTON not in shown
            assert "The page was started with --read-only." in shown
            assert (await page.post(f"/runs/{run_id}/instances/1", {"action": "cleanup"})).status == 403
    assert len(ledger.existing) == 6


async def test_a_page_that_drives_only_its_own_run_says_why(vault: Vault) -> None:
    ledger = Ledger()
    async with open_store("memory:") as store:
        run_id = await two_kept(ledger, store, vault)
        async with page_of(store, vault, toy(ledger)) as page:
            shown = unescape((await page.get(f"/runs/{run_id}/instances/1")).text)
            assert BUTTON not in shown
            assert "Start `orchestrator web`" in shown
            assert (await page.post(f"/runs/{run_id}/instances/1", {"action": "cleanup"})).status == 409


async def test_an_instance_of_an_unfinished_run_is_not_rolled_back(vault: Vault) -> None:
    ledger = Ledger()
    async with open_store("memory:") as store:
        run_id = await stopped_after(ledger, store, vault, 2, total=4)
        async with driving_page(store, vault, toy(ledger), fast(vault)) as page:
            shown = (await page.get(f"/runs/{run_id}/instances/0")).text
            assert BUTTON not in shown
            assert "can be retried or rolled back when its run is finished" in shown
            answer = await page.post(f"/runs/{run_id}/instances/0", {"action": "cleanup"})
            assert answer.status == 409
            assert "when its run is finished" in answer.text
        assert (await store.run(run_id)).status is RunStatus.INTERRUPTED


async def test_an_unknown_instance_is_not_rolled_back(vault: Vault) -> None:
    ledger = Ledger()
    async with open_store("memory:") as store:
        run_id = await two_kept(ledger, store, vault)
        async with driving_page(store, vault, toy(ledger), fast(vault)) as page:
            assert (await page.post(f"/runs/{run_id}/instances/9", {"action": "cleanup"})).status == 404
            assert (await page.post(f"/runs/{run_id}/instances/0", {"action": "stop"})).status == 409
    assert len(ledger.existing) == 6


async def test_one_instance_is_rolled_back_by_its_page_and_the_other_stays(vault: Vault) -> None:
    ledger = Ledger(script={"run two": [None, PermanentError("no")]})
    async with open_store("memory:") as store:
        run_id = await two_kept(ledger, store, vault)
        async with driving_page(store, vault, toy(ledger), fast(vault)) as page:
            shown = (await page.get(f"/runs/{run_id}/instances/1")).text
            assert 'value="retry"' in shown
            assert "Roll back</button>" in shown
            assert 'data-asks="Remove everything that this instance created' in shown
            assert (await page.post(f"/runs/{run_id}/instances/1", {"action": "cleanup"})).status == 303
            await settled(page)
            shown = (await page.get(f"/runs/{run_id}/instances/1")).text
            assert BUTTON not in shown
            assert "It is rolled back already." in shown
            assert (await page.post(f"/runs/{run_id}/instances/1", {"action": "cleanup"})).status == 409
        assert {status for status, _ in await store.counts(run_id)} == {Status.COMPLETED, Status.ROLLED_BACK}
    assert sorted(ledger.existing) == ["one:0", "three:0", "two:0"]
