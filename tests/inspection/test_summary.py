"""The summary of a run: counted by the store; only instances that are shown are decoded."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from orchestrator import Instance, OnFailure, PermanentError, Status, Vault, open_store, resume, start
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.inspection.summary import SHOWN, summarise
from orchestrator.lifecycle.effects import effects_of
from tests.support.toy import Ledger, fast, toy


async def test_a_summary_counts_all_instances_and_reads_a_page_of_them(tmp_path: Path, vault: Vault) -> None:
    ledger, path = Ledger(script={"run two": [None, PermanentError("no")]}), tmp_path / "runs.db"
    workflow = toy(ledger)
    async with open_store(f"sqlite:{path}") as store:
        options = fast(vault)
        async with start(workflow, store=store, instances=100, concurrency=10, on_failure=OnFailure.KEEP, options=options) as run:
            await run.wait()
        with sqlite3.connect(path) as db:
            damaged = db.execute("UPDATE instances SET body = x'00' WHERE status = 'completed' AND number >= 50").rowcount
        db.close()
        assert damaged == 50
        summary = await summarise(await StoredRun.load(workflow, run.id, store=store, vault=vault))
    assert summary.counts == {Status.COMPLETED: 99, Status.FAILED: 1}
    assert summary.existing == {"thing": 99 * 3 + 2}
    assert len(summary.standing) == SHOWN
    assert [failure.message for _, failure in summary.failures] == ["no"]


async def test_a_summary_of_a_killed_run_counts_unfinished_instances(tmp_path: Path, vault: Vault) -> None:
    ledger, path = Ledger(), tmp_path / "runs.db"
    workflow = toy(ledger)
    async with open_store(f"sqlite:{path}") as store:
        async with start(workflow, store=store, instances=30, concurrency=5, options=fast(vault)) as run:
            await run.wait()
        # The checkpoints of a killed process, or of a program that did not count effects yet.
        with sqlite3.connect(path) as db:
            db.execute("UPDATE instances SET effects = NULL WHERE number % 2")
        db.close()
        summary = await summarise(await StoredRun.load(workflow, run.id, store=store, vault=vault))
    assert summary.existing == {"thing": 90}


async def test_stored_effects_are_those_of_the_decoded_instance(tmp_path: Path, vault: Vault) -> None:
    ledger = Ledger(script={"run three": [None, PermanentError("no")], "rollback two": [PermanentError("stuck")] * 9})
    workflow = toy(ledger)
    async with open_store(f"sqlite:{tmp_path / 'runs.db'}") as store:

        def stop(_: object) -> None:
            run.stop()

        ledger.script["run two"] = [None] * 6 + [stop]
        async with start(workflow, store=store, instances=12, concurrency=2, options=fast(vault)) as run:
            await run.wait()
        stored = await StoredRun.load(workflow, run.id, store=store, vault=vault)
        found: list[Instance[object]] = [one async for one in stored.instances()]
        rows = {row.number: row.effects for row in await store.load(run.id)}
        statuses = {one.status for one in found}
        assert statuses >= {Status.COMPLETED, Status.SUSPENDED, Status.ROLLBACK_FAILED}
        for one in found:
            assert rows[one.number] == tuple(effect.kind for _, effect in effects_of(workflow, one)), one
        async with resume(workflow, run.id, store=store, options=fast(vault)) as again:
            await again.wait()
        assert sum((await store.effects(run.id)).values()) == len(ledger.existing)
