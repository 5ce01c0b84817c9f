"""The controls: stop, resume, retry and clean up by the page, and the form that starts a run."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from html import unescape
from typing import Any

import anyio
import pytest

from orchestrator import (
    Options,
    PermanentError,
    Run,
    RunStatus,
    Store,
    Vault,
    Workflow,
    cleanup,
    open_store,
    resume,
    retry,
    start,
)
from orchestrator.cli.page import SettingsPlanner
from orchestrator.cli.settings import TelemetrySettings
from orchestrator.cli.telemetry import Telemetry
from orchestrator.web.drives import Drives
from orchestrator.web.planning import Field, Kind, Planned
from orchestrator.web.settings import WebSettings
from tests.support.page import Page, page_of
from tests.support.toy import Ledger, fast, toy
from tests.support.waiting import until


class ToyPlanner:
    """Continues the runs of one workflow; it has no form."""

    def __init__(self, workflow: Workflow[Any, Any], store: Store, options: Options) -> None:
        self._workflow = workflow
        self._store = store
        self._options = options

    def workflows(self) -> Sequence[str]:
        return [self._workflow.name]

    def fields(self, kind: Kind, workflow: str, given: Mapping[str, Any]) -> Mapping[str, Sequence[Field]]:
        return {}

    async def plan(self, kind: Kind, workflow: str, given: Mapping[str, Any]) -> Planned:
        return Planned(description="one", needs="", opened=start(self._workflow, store=self._store, options=self._options))

    def again(self, command: str, workflow: str, run_id: str, number: int | None) -> AbstractAsyncContextManager[Run[Any]]:
        how: Mapping[str, Any] = {"resume": resume, "retry": retry, "cleanup": cleanup}
        only: Mapping[str, Any] = {} if number is None else {"number": number}
        opened: AbstractAsyncContextManager[Run[Any]] = how[command](
            self._workflow, run_id, store=self._store, options=self._options, **only
        )
        return opened


@asynccontextmanager
async def driving_page(store: Store, vault: Vault, workflow: Workflow[Any, Any], options: Options) -> AsyncIterator[Page]:
    """A page that can drive runs."""
    drives = Drives()
    async with anyio.create_task_group() as tasks:
        drives.tasks = tasks
        async with page_of(store, vault, workflow, drives=drives, planner=ToyPlanner(workflow, store, options)) as page:
            yield page
        drives.stop_all()


async def settled(page: Page) -> None:
    """Wait until the page drives nothing."""
    await until(lambda: not page.site.drives.running)


async def test_a_run_is_stopped_and_resumed_by_the_page(vault: Vault) -> None:
    entered, leave = anyio.Event(), anyio.Event()

    async def hold(step: Any) -> None:
        entered.set()
        await leave.wait()

    ledger, options = Ledger(script={"run two": [hold]}), Options(vault=vault)
    workflow = toy(ledger)
    async with open_store("memory:") as store, driving_page(store, vault, workflow, options) as page:
        answer = await page.post("/start", {"action": "start"})
        run_id = answer.headers["Location"].rpartition("/")[2]
        await entered.wait()
        assert 'value="stop"' in (await page.get(f"/runs/{run_id}")).text
        assert (await page.post(f"/runs/{run_id}", {"action": "stop"})).status == 303
        leave.set()
        await settled(page)
        assert (await store.run(run_id)).status is RunStatus.INTERRUPTED
        shown = (await page.get(f"/runs/{run_id}")).text
        assert 'value="resume"' in shown
        assert 'value="stop"' not in shown
        assert (await page.post(f"/runs/{run_id}", {"action": "resume"})).status == 303
        await settled(page)
        assert (await store.run(run_id)).status is RunStatus.FINISHED
        assert ledger.calls.count("run two") == 1


async def test_a_failed_instance_is_retried_and_the_run_cleaned_up_by_the_page(vault: Vault) -> None:
    ledger, options = Ledger(script={"run two": [PermanentError("no"), PermanentError("no")]}), fast(vault)
    workflow = toy(ledger)
    async with open_store("memory:") as store:
        async with start(workflow, store=store, instances=2, on_failure="keep", options=options) as run:
            await run.wait()
        async with driving_page(store, vault, workflow, options) as page:
            assert 'value="retry"' in (await page.get(f"/runs/{run.id}/instances/1")).text
            assert (await page.post(f"/runs/{run.id}/instances/1", {"action": "retry"})).status == 303
            await settled(page)
            assert "1 completed" in (await page.get(f"/runs/{run.id}")).text
            assert (await page.post(f"/runs/{run.id}", {"action": "retry"})).status == 303
            await settled(page)
            assert "2 completed" in (await page.get(f"/runs/{run.id}")).text
            assert (await page.post(f"/runs/{run.id}", {"action": "cleanup"})).status == 303
            await settled(page)
            assert "Nothing of it exists in the environment" in (await page.get(f"/runs/{run.id}")).text
    assert ledger.existing == []


@pytest.mark.parametrize("action", ["resume", "retry", "stop", "", "<script>", "drop"])
async def test_an_action_that_is_not_possible_now_changes_nothing(vault: Vault, action: str) -> None:
    workflow, options = toy(Ledger()), fast(vault)
    async with open_store("memory:") as store:
        async with start(workflow, store=store, options=options) as run:
            await run.wait()
        async with driving_page(store, vault, workflow, options) as page:
            answer = await page.post(f"/runs/{run.id}", {"action": action})
            assert answer.status == 409
            assert "<script>" not in answer.text
            assert not page.site.drives.running
        assert (await store.run(run.id)).status is RunStatus.FINISHED


async def test_a_page_that_drives_nothing_says_why_it_has_no_controls(vault: Vault) -> None:
    workflow = toy(Ledger())
    async with open_store("memory:") as store, start(workflow, store=store, instances=2, options=fast(vault)) as run:
        await run.wait()
        async with page_of(store, vault, workflow) as page:
            assert "Start `orchestrator web`" in unescape((await page.get(f"/runs/{run.id}")).text)
            answer = await page.get("/start")
            assert answer.status == 409
            assert "drives only its own run" in answer.text


async def test_the_form_starts_a_run_and_never_echoes_a_secret(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGONE_CLIENT_SECRET", "secret-of-the-environment")
    monkeypatch.setenv("PINGONE_REGION_CODE", "EU")
    drives = Drives()
    async with open_store("memory:") as store, anyio.create_task_group() as tasks:
        drives.tasks = tasks
        planner = SettingsPlanner(store, vault, Options(vault=vault), None, Telemetry(TelemetrySettings(), {}))
        async with page_of(store, vault, drives=drives, planner=planner) as page:
            form = (await page.get("/start?kind=load")).text
            assert "set by PINGONE_CLIENT_SECRET" in form
            assert "secret-of-the-environment" not in form
            assert re.search(r"<option selected>EU</option>", form)
            assert 'name="report"' not in form
            assert "PingOne tenant (without one, the embedded sandbox is used)" in form, "true with and without a tenant"
            wrong = await page.post("/start", {"kind": "load", "rate": "x<b>", "client_secret": "typed-in-secret"})
            assert wrong.status == 409
            assert "is not a number" in wrong.text
            assert "x&lt;b&gt;" in wrong.text
            assert "typed-in-secret" not in wrong.text


async def test_the_estimate_comes_before_the_start(vault: Vault) -> None:
    drives = Drives()
    async with open_store("memory:") as store, anyio.create_task_group() as tasks:
        drives.tasks = tasks
        planner = SettingsPlanner(store, vault, Options(vault=vault), None, Telemetry(TelemetrySettings(), {}))
        async with page_of(store, vault, drives=drives, planner=planner) as page:
            given = {"kind": "run", "instances": "2", "concurrency": "2", "rates": "configuration=100", "on_success": "teardown"}
            checked = await page.post("/start", {**given, "action": "check"})
            assert checked.status == 200
            assert "2 instances" in checked.text
            assert "at 100/s: at least" in checked.text
            assert 'value="configuration=100"' in checked.text
            assert not drives.running
            started = await page.post("/start", {**given, "action": "start"})
            assert started.status == 303
            await settled(page)
            shown = (await page.get(started.headers["Location"])).text
            assert "2 completed" in shown


async def test_a_run_that_another_process_drives_is_stopped_and_changed_by_the_store(vault: Vault) -> None:
    entered, leave = anyio.Event(), anyio.Event()

    async def hold(step: Any) -> None:
        entered.set()
        await leave.wait()

    workflow = toy(Ledger(script={"run two": [hold, hold, hold]}))
    async with (
        open_store("memory:") as store,
        start(workflow, store=store, instances=9, concurrency=3, options=Options(vault=vault, grace_s=0.1)) as run,
        page_of(store, vault, workflow) as page,  # knows nothing of this run but the store
    ):
        await entered.wait()
        shown = (await page.get(f"/runs/{run.id}")).text
        assert 'name="value" value="3"' in shown
        assert (await page.post(f"/runs/{run.id}", {"action": "change", "value": "5"})).status == 303
        assert [change.value for change in (await store.run(run.id)).scenario.changes] == [5]
        shown = (await page.get(f"/runs/{run.id}")).text
        assert "changed to 5 instances at once" in shown
        assert "5 at once" in (await page.get(f"/runs/{run.id}/charts")).text
        assert (await page.post(f"/runs/{run.id}", {"action": "stop"})).status == 303
        assert (await run.wait()).status is RunStatus.INTERRUPTED


@pytest.mark.parametrize("value", ["", "x", "0", "-1", "1.5", "nan", "inf", "1e99", "<script>alert(1)</script>"])
async def test_an_impossible_value_is_refused_in_words(vault: Vault, value: str) -> None:
    entered = anyio.Event()

    async def hold(step: Any) -> None:
        entered.set()
        await anyio.sleep_forever()

    workflow = toy(Ledger(script={"run two": [hold, hold]}))
    async with (
        open_store("memory:") as store,
        start(workflow, store=store, instances=9, concurrency=2, options=Options(vault=vault, grace_s=0.1)) as run,
        page_of(store, vault, workflow) as page,
    ):
        await entered.wait()
        answer = await page.post(f"/runs/{run.id}", {"action": "change", "value": value})
        assert answer.status == 409
        assert "<script>" not in answer.text
        assert (await store.run(run.id)).scenario.changes == ()
        run.cancel()


async def test_a_read_only_page_offers_no_change_of_a_running_run(vault: Vault) -> None:
    entered = anyio.Event()

    async def hold(step: Any) -> None:
        entered.set()
        await anyio.sleep_forever()

    workflow = toy(Ledger(script={"run two": [hold, hold]}))
    settings = WebSettings(port=0, read_only=True)
    async with (
        open_store("memory:") as store,
        start(workflow, store=store, instances=9, concurrency=2, options=Options(vault=vault, grace_s=0.1)) as run,
        page_of(store, vault, workflow, settings=settings) as page,
    ):
        await entered.wait()
        assert "<button" not in (await page.get(f"/runs/{run.id}")).text
        assert (await page.post(f"/runs/{run.id}", {"action": "stop"})).status == 403
        assert not any(shard.must_stop for shard in await store.shards(run.id))
        run.cancel()
