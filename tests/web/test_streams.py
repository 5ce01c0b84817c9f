"""Event streams: the parts that change while a run goes on, and the end of a stream."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import anyio
import pytest

from orchestrator import Options, PermanentError, Secret, Vault, open_store, start
from orchestrator.web import events
from orchestrator.web.settings import WebSettings
from tests.support.page import page_of
from tests.support.toy import Ledger, fast, toy

TOKEN = Secret("a-token-that-is-long-enough")


async def next_event(stream: aiohttp.ClientResponse) -> tuple[str, Any]:
    """The next event: its name and its data."""
    name = ""
    while True:
        line = (await stream.content.readline()).decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            return name, json.loads(line[6:])


async def test_a_stream_sends_the_parts_that_change_and_no_others(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVERY_S", 0.02)
    monkeypatch.setattr(events, "MOST_SHARE", 1.0)
    entered, leave = anyio.Event(), anyio.Event()

    async def hold(step: Any) -> None:
        entered.set()
        await leave.wait()
        raise PermanentError("broken off")

    workflow = toy(Ledger(script={"run two": [hold]}))
    async with (
        open_store("memory:") as store,
        start(workflow, store=store, on_failure="keep", options=Options(vault=vault)) as run,
    ):
        await entered.wait()
        async with page_of(store, vault, workflow) as page, page.session.get(page.url(f"/runs/{run.id}/events")) as stream:
            with anyio.fail_after(20):
                name, first = await next_event(stream)
                assert name == "parts"
                assert "1 running" in first["status"]
                assert "machine" in first
                leave.set()
                while True:
                    name, later = await next_event(stream)
                    if name == "parts" and "1 failed" in later.get("status", ""):
                        break
                assert "effects" in later
                assert "timeline" not in later or "started" in later["timeline"]


async def test_the_list_of_runs_is_live(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVERY_S", 0.02)
    monkeypatch.setattr(events, "MOST_SHARE", 1.0)
    workflow = toy(Ledger())
    async with (
        open_store("memory:") as store,
        page_of(store, vault, workflow) as page,
        page.session.get(page.url("/events")) as stream,
    ):
        with anyio.fail_after(20):
            assert "No run yet" in (await next_event(stream))[1]["list"]
            async with start(workflow, store=store, options=fast(vault)) as run:
                await run.wait()
            while f'id="run-{run.id}"' not in (await next_event(stream))[1]["list"]:
                pass


async def test_streams_are_limited_and_end_with_the_server(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STREAMS_MOST", 1)
    workflow = toy(Ledger())
    async with open_store("memory:") as store, start(workflow, store=store, options=fast(vault)) as run:
        await run.wait()
        async with aiohttp.ClientSession() as session:
            async with page_of(store, vault, workflow, settings=WebSettings(port=0, token=TOKEN)) as page:
                bearer = {"Authorization": f"Bearer {TOKEN.reveal()}"}
                stream = await session.get(page.url(f"/runs/{run.id}/events"), headers=bearer)
                await next_event(stream)
                refused = await page.get("/events")
                assert refused.status == 503
                assert "Too many pages" in refused.text
            assert (await stream.content.read()).endswith(b"\n\n")


async def test_a_stream_of_an_unknown_run_is_refused(vault: Vault) -> None:
    async with open_store("memory:") as store, page_of(store, vault) as page:
        assert (await page.get("/runs/261124-aaaaaa/events")).status == 404
