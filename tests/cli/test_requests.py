"""The terminal of a run says what the web page has asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread

from orchestrator import open_store
from orchestrator.lifecycle.changes import Change


async def test_a_changed_and_stopped_run_says_so_in_one_line_each(home: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "orchestrator",
        "load",
        "--id",
        "one",
        "--rate",
        "2",
        "--duration",
        "10m",
        "--log-format",
        "json",
    ]
    with subprocess.Popen(argv, cwd=home, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load:
        try:
            url = f"sqlite:{home / 'data' / 'orchestrator' / 'runs.db'}"
            with anyio.fail_after(60):
                while not (home / "data" / "orchestrator" / "runs.db").exists():
                    await anyio.sleep(0.05)
                async with open_store(url, create=False) as store:
                    while not sum((await store.counts("one")).values()):
                        await anyio.sleep(0.05)
                    change = Change(at=30.0, value=3.0, asked_at=0.0)
                    await store.change_scenario("one", lambda scenario: scenario.with_change(change))
                    await anyio.sleep(1.5)  # drivers look once a second
                    await store.ask_to_stop("one")
                out, err = await anyio.to_thread.run_sync(load.communicate)
        finally:
            load.kill()
    assert load.returncode == 130, err
    assert out.count("changed from the web page: 3 arrivals a second, from 30s of the scenario on\n") == 1
    assert out.count("\nstopped from the web page\n") == 1
    assert '"message":"run one: stopped from the web page"' in err
