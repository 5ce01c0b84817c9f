"""Metrics on the web page: behind its token, for the runs that its process drives."""

from __future__ import annotations

from functools import partial

import aiohttp

from orchestrator import Vault, start
from orchestrator.storage.memory import MemoryStore
from orchestrator.telemetry.metrics import Metrics
from orchestrator.telemetry.server import add_metrics
from tests.support.page import page_of
from tests.support.toy import Ledger, fast, toy


async def test_the_page_serves_the_metrics_to_those_who_have_its_token(vault: Vault) -> None:
    store, metrics, workflow = MemoryStore(), Metrics(), toy(Ledger())
    async with start(workflow, store=store, instances=2, options=fast(vault)) as run:
        metrics.add(run)
        await run.wait()
        async with page_of(store, vault, workflow, extensions=(partial(add_metrics, metrics=metrics),)) as page:
            answer = await page.get("/metrics")
            token = page.served.link.reveal().partition("token=")[2]
            async with aiohttp.ClientSession() as other:
                async with other.get(page.url("/metrics")) as refused:
                    assert refused.status == 401
                async with other.get(page.url("/metrics"), headers={"Authorization": f"Bearer {token}"}) as scraped:
                    assert scraped.status == 200
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert f'orchestrator_instances_ended_total{{run="{run.id}",status="completed",workflow="toy"}} 2.0' in answer.text
