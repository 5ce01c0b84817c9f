"""HTTP archives of instances from the user's view."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator import PermanentError, cleanup, open_store, start
from orchestrator.inspection.explain import why_not_recorded
from tests.support.toy import Ledger, toy


def test_an_archive_is_of_one_instance(cli: Any, home: Path) -> None:
    run = json.loads(cli("run", "--json")[1])["run"]
    code, _, err = cli("show", run, "--har", "x.har")
    assert code == 2
    assert "--har needs an instance" in err


def test_requests_of_a_successful_instance_are_kept_if_the_run_was_asked_to(cli: Any, home: Path) -> None:
    run = json.loads(cli("load", "--instances", "2", "--record", "all", "--json")[1])["run"]
    code, out, _ = cli("show", f"{run}-1", "--har", "1.har")
    assert code == 0
    assert "Requests, secrets masked" in out
    text = Path("1.har").read_text()
    urls = [entry["request"]["url"] for entry in json.loads(text)["log"]["entries"]]
    assert sum(url.endswith("/applications") for url in urls) == 1
    assert sum(url.endswith("/as/token") for url in urls) == 1
    assert len(urls) >= 15 + 5  # including those of its rollback
    assert "eyJ" not in text  # no token, no assertion
    stored = b"".join(path.read_bytes() for path in (home / "data" / "orchestrator").glob("runs.db*"))
    assert b"startedDateTime" not in stored  # sealed


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--duration", "2s", "--rounds", "endless"], "record: all requests can be stored for at most 100 rounds per instance"),
        (["--rounds", "101"], "record: all requests can be stored for at most 100 rounds"),
    ],
)
def test_not_every_request_of_a_soak_is_kept(cli: Any, argv: list[str], message: str) -> None:
    code, _, err = cli("load", "--record", "all", *argv)
    assert (code, len(err.splitlines())) == (2, 1)
    assert message in err


async def reason(ledger: Ledger, *, stop: bool = False, clean: bool = False, **more: Any) -> str:
    """The reason given when no request of the instance of such a run is stored."""
    reached = anyio.Event()
    if stop:
        ledger.script["run two"] = [lambda step: reached.set() or anyio.sleep_forever()]
    async with open_store("memory:") as store:
        async with start(toy(ledger), store=store, **more) as run:
            if stop:
                await reached.wait()
                run.cancel()
            await run.wait()
        if clean:
            async with cleanup(toy(ledger), run.id, store=store) as cleaning:
                await cleaning.wait()
        return why_not_recorded(await store.run(run.id), await run.instance(0))


async def test_the_reason_why_no_request_is_stored_is_the_true_one() -> None:
    hint = ", and the run keeps those of failed instances (start it with --record all to keep all)"
    assert await reason(Ledger()) == f"it completed{hint}"
    assert await reason(Ledger(), stop=True) == f"it has not failed{hint}"
    assert await reason(Ledger(), stop=True, clean=True) == f"it did not fail, `orchestrator cleanup` rolled it back{hint}"
    refused = Ledger(script={"run two": [PermanentError("no")]})
    assert await reason(refused) == "the process that saw it fail had sent none of its requests"
    assert await reason(Ledger(), recorded="all") == "it has sent none so far"


def test_an_archive_that_cannot_be_written_says_why(cli: Any, home: Path) -> None:
    run = json.loads(cli("run", "--json")[1])["run"]
    code, _, err = cli("show", f"{run}-0", "--har", "x.har")
    assert code == 2
    assert f"no request of {run}-0 is stored: it completed, and the run keeps those of failed instances (start it with" in err
    assert not Path("x.har").exists()
