"""The page in a real browser: headless Chromium, where the system has one."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from orchestrator import Options, PermanentError, Scenario, Vault, Workflow, open_store, start
from orchestrator.cli.page import SettingsPlanner
from orchestrator.cli.settings import TelemetrySettings
from orchestrator.cli.telemetry import Telemetry
from orchestrator.web import events
from orchestrator.web.drives import Drives
from tests.support.page import page_of
from tests.support.toy import Ledger, fast, toy
from tests.support.waiting import until
from tests.web.test_pages import HOSTILE

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed (extra dev)")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
A4 = 718
"""Pixels of a page of paper between margins of 1 cm."""
# The contrast of each visible text with the ground behind it (WCAG 2.1, "Contrast (Minimum)": 4.5, large text 3).
CONTRAST = """() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, below) => top.slice(0, 3).map((value, i) => value * top[3] + below[i] * (1 - top[3]));
  const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || node.closest("script, svg, option, [hidden], .hidden, .skip, button:disabled") || !node.checkVisibility()) continue;
    const style = getComputedStyle(node), below = ground(node), text = over(parse(style.color), below);
    const [high, low] = [light(text), light(below)].sort((a, b) => b - a), ratio = (high + 0.05) / (low + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return found;
}"""


@asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    async with playwright.async_playwright() as driver:
        opened = await driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield opened
        finally:
            await opened.close()


class Tab:
    """A tab that has opened the link; ``problems`` are errors of scripts and what the browser refused, ``strangers`` requests
    to other servers."""

    def __init__(self, page: Any, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.problems: list[str] = []
        self.strangers: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", self._asked)
        page.on("request", self._requested)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    async def _asked(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _requested(self, request: Any) -> None:
        if not request.url.startswith(f"{self.origin}/"):
            self.strangers.append(request.url)

    async def show(self, path: str) -> None:
        await self.page.goto(self.origin + path)


@asynccontextmanager
async def tab(chromium: Any, served: Any, **more: Any) -> AsyncIterator[Tab]:
    context = await chromium.new_context(**more)
    try:
        opened = Tab(await context.new_page(), served.origin)
        await opened.page.goto(served.link.reveal())
        yield opened
    finally:
        await context.close()


async def test_a_page_follows_its_run_and_asks_no_other_server(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVERY_S", 0.1)
    monkeypatch.setattr(events, "MOST_SHARE", 1.0)
    entered, leave = anyio.Event(), anyio.Event()

    async def hold(step: Any) -> None:
        entered.set()
        await leave.wait()

    workflow = toy(Ledger(script={"run two": [hold]}))
    async with (
        browser() as chromium,
        open_store("memory:") as store,
        start(workflow, store=store, instances=3, options=Options(vault=vault)) as run,
    ):
        await entered.wait()
        async with page_of(store, vault, workflow) as page, tab(chromium, page.served) as opened:
            assert "token" not in opened.page.url
            await opened.page.click(f"#run-{run.id}")
            await opened.page.wait_for_selector("#part-status >> text=1 running")
            await opened.page.wait_for_selector("#live.on")
            leave.set()
            await opened.page.wait_for_selector("#part-status >> text=3 completed")
            await opened.page.wait_for_selector("#throughput canvas")
            await opened.page.focus("#latency-of")
            await opened.page.select_option("#latency-of", "two")
            await opened.page.wait_for_selector("#latency canvas")
            assert await opened.page.evaluate("document.activeElement.id") == "latency-of"
            assert opened.strangers == []
            assert opened.problems == []


async def test_text_from_outside_runs_no_script(vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError(HOSTILE, code=HOSTILE)]})
    workflow = toy(ledger)
    async with (
        browser() as chromium,
        open_store("memory:") as store,
        start(workflow, store=store, on_failure="keep", options=fast(vault)) as run,
    ):
        await run.wait()
        async with page_of(store, vault, workflow) as page, tab(chromium, page.served) as opened:
            for path in (
                "/",
                f"/runs/{run.id}",
                f"/runs/{run.id}/instances",
                f"/runs/{run.id}/instances/0",
                "/?text=<script>alert(1)",
            ):
                await opened.show(path)
                await opened.page.wait_for_load_state("load")
            await opened.show(f"/runs/{run.id}")
            await opened.page.wait_for_selector("#live.on")
            assert await opened.page.locator("#part-errors >> text=<script>alert").count() == 2  # code and example
            assert "owned" not in await opened.page.inner_text("#part-status")
            assert opened.problems == []


@asynccontextmanager
async def two_runs(vault: Vault) -> AsyncIterator[tuple[Any, list[str]]]:
    """A page with two runs that have everything to show; the paths of its pages."""
    ids = []
    async with open_store("memory:") as store, anyio.create_task_group() as tasks:
        for _ in range(2):
            ledger = Ledger(script={"run two": [PermanentError("refused", code="no")]})
            workflow: Workflow[Any, Any] = toy(ledger)
            scenario = Scenario(instances=4, concurrency=2)
            async with start(
                workflow, store=store, scenario=scenario, on_failure="keep", thresholds=["failed < 5%"], options=fast(vault)
            ) as run:
                ids.append(run.id)
        drives = Drives()
        drives.tasks = tasks
        planner = SettingsPlanner(store, vault, Options(vault=vault), None, Telemetry(TelemetrySettings(), {}))
        async with page_of(store, vault, workflow, drives=drives, planner=planner) as page:
            paths = ["/", "/start?kind=load", f"/compare?run={ids[0]}&run={ids[1]}", f"/runs/{ids[0]}"]
            yield page, [*paths, f"/runs/{ids[0]}/instances", f"/runs/{ids[0]}/instances/0"]


async def fits(page: Any) -> bool:
    """Whether nothing is wider than the window, and no table is cut off in its box."""
    boxes = "[document.documentElement, ...document.querySelectorAll('.scroll:has(table)')]"
    return not await page.evaluate(f"{boxes}.some((box) => box.scrollWidth > box.clientWidth)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_fits_and_can_be_read(vault: Vault, scheme: str) -> None:
    async with (
        browser() as chromium,
        two_runs(vault) as (page, paths),
        tab(chromium, page.served, color_scheme=scheme, viewport={"width": 1400, "height": 900}) as opened,
    ):
        for path in paths:
            await opened.show(path)
            for width in (1400, 800, 380):
                await opened.page.set_viewport_size({"width": width, "height": 900})
                await until(lambda: fits(opened.page), says=f"{path} fits {width} pixels")  # charts are drawn in a later frame
            assert await opened.page.evaluate(CONTRAST) == [], path
            await opened.page.set_viewport_size({"width": A4, "height": 900})
            await opened.page.emulate_media(media="print")
            await until(lambda: fits(opened.page), says=f"{path} fits a sheet of paper")
            assert await opened.page.evaluate(CONTRAST) == [], f"{path} on paper"
            await opened.page.emulate_media(media="screen")
        assert opened.problems == []


async def test_without_scripts_a_page_can_be_read_and_used(vault: Vault) -> None:
    async with (
        browser() as chromium,
        two_runs(vault) as (page, paths),
        tab(chromium, page.served, java_script_enabled=False) as opened,
    ):
        await opened.show(paths[3])
        assert "3 completed" in await opened.page.inner_text("#part-status")
        assert "refused" in await opened.page.inner_text("#part-errors")
        await opened.page.keyboard.press("Tab")
        assert await opened.page.locator(":focus").inner_text() == "Skip to the content"
        await opened.page.click("#see-instances")
        await opened.page.select_option("select[name=status]", "failed")
        await opened.page.click("button:has-text('Show')")
        assert await opened.page.locator("tbody tr").count() == 1


async def test_a_run_is_started_from_the_form(vault: Vault) -> None:
    drives = Drives()
    async with browser() as chromium, open_store("memory:") as store, anyio.create_task_group() as tasks:
        drives.tasks = tasks
        planner = SettingsPlanner(store, vault, Options(vault=vault), None, Telemetry(TelemetrySettings(), {}))
        async with page_of(store, vault, drives=drives, planner=planner) as page, tab(chromium, page.served) as opened:
            await opened.page.click("text=Start a run")
            await opened.page.fill("#f-instances", "2")
            await opened.page.fill("#f-rates", "configuration=50")
            assert await opened.page.locator("button[value=start]").count() == 0
            await opened.page.click("button[value=check]")
            assert "at least" in await opened.page.inner_text("#estimate")
            await opened.page.click("button[value=start]")
            await opened.page.wait_for_selector("#part-status >> text=2 completed")
            assert opened.problems == []
