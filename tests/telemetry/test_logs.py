"""Logs: the records of a run, their two formats, and a reader of stderr that is slow or gone."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import anyio
import pytest

from orchestrator import Event, EventKind, PermanentError, TransientError, Vault, start
from orchestrator.cli import main
from orchestrator.lifecycle.events import REQUESTED
from orchestrator.storage.memory import MemoryStore
from orchestrator.telemetry.log_output import ThreadedHandler
from orchestrator.telemetry.logs import EventLogger, JsonFormatter, TextFormatter, level_of, sentence
from tests.support.toy import Ledger, fast, toy


def event(kind: EventKind, **more: Any) -> Event:
    return Event(run_id="261124-abcdef", number=7, kind=kind, at=1_700_000_000.5, state="two", **more)


CALLED = {"handler": "run", "attempt": 2, "duration_s": 0.0125}
SENTENCES = {
    EventKind.ATTEMPT: (logging.DEBUG, {"handler": "run", "attempt": 2}, "two: run begins, attempt 2"),
    EventKind.ANSWER: (logging.DEBUG, {"handler": "run", "duration_s": 0.0125}, "two: run ended in 12.5 ms"),
    EventKind.STARTED: (logging.INFO, {}, "started"),
    EventKind.MOVED: (logging.INFO, CALLED | {"outcome": "done", "target": "three"}, "two: done in 12.5 ms, to three"),
    EventKind.RETRY: (logging.WARNING, CALLED | {"error": "busy"}, "two: attempt 2 failed in 12.5 ms, another follows: busy"),
    EventKind.NOT_FOUND: (logging.INFO, CALLED, "two: recovery found no effect in 12.5 ms"),
    EventKind.ROLLING_BACK: (logging.WARNING, CALLED | {"error": "no"}, "two: failed in 12.5 ms, rolling back: no"),
    EventKind.UNDONE: (logging.INFO, CALLED, "two: rolled back in 12.5 ms"),
    EventKind.LEFT_OVER: (logging.ERROR, {"error": "no"}, "two: left over: no"),
    EventKind.FAILED: (logging.ERROR, {"error": "no"}, "two: failed, the instance is kept: no"),
    EventKind.PUT_BACK: (logging.INFO, {}, "two: put back, to be retried"),
    EventKind.SUSPENDED: (logging.INFO, {}, "two: suspended"),
    EventKind.RESUMED: (logging.INFO, {}, "two: resumed"),
    EventKind.ENDED: (logging.INFO, {"outcome": "completed"}, "ended: completed"),
}


@pytest.mark.parametrize("kind", list(EventKind))
def test_each_kind_of_event_has_a_sentence_and_a_level(kind: EventKind) -> None:
    level, more, said = SENTENCES[kind]
    assert sentence(event(kind, **more)) == f"261124-abcdef-7 {said}"
    assert level_of(event(kind, **more)) == level


def test_a_teardown_is_no_warning_and_a_recovery_is_named() -> None:
    assert sentence(event(EventKind.ROLLING_BACK)) == "261124-abcdef-7 tearing down"
    assert level_of(event(EventKind.ROLLING_BACK)) == logging.INFO
    assert sentence(event(EventKind.ROLLING_BACK, outcome=REQUESTED)) == "261124-abcdef-7 rollback requested"
    moved = event(EventKind.MOVED, handler="recover", outcome="done", target="three", duration_s=0.001)
    assert sentence(moved) == "261124-abcdef-7 two: done (recovered) in 1.0 ms, to three"


def record(observed: Event, caplog: pytest.LogCaptureFixture, **more: Any) -> logging.LogRecord:
    caplog.set_level(logging.DEBUG)
    EventLogger(logging.DEBUG, **more)(observed)
    return caplog.records[-1]


def test_a_json_line_holds_the_fields_of_the_event(caplog: pytest.LogCaptureFixture) -> None:
    observed = event(EventKind.RETRY, **CALLED, error="busy\nagain", failure="transient", code="E1", waited_s=0.5, seq=3)
    line = JsonFormatter().format(record(observed, caplog, trace_id=lambda one: f"trace of {one.number}"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "warning",
        "logger": "orchestrator.instances",
        "message": "261124-abcdef-7 two: attempt 2 failed in 12.5 ms, another follows: busy\nagain",
        "run": "261124-abcdef",
        "instance": "261124-abcdef-7",
        "event": "retry",
        "state": "two",
        "handler": "run",
        "attempt": 2,
        "duration_s": 0.0125,
        "waited_s": 0.5,
        "failure": "transient",
        "code": "E1",
        "error": "busy\nagain",
        "seq": 3,
        "trace_id": "trace of 7",
    }


def test_a_line_of_text_has_no_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    observed = event(EventKind.RETRY, **CALLED, error="\x1b[31mbusy\nagain")
    line = TextFormatter().format(record(observed, caplog, trace_id=lambda one: "abc"))
    assert line == (
        "2023-11-14T22:13:20.500Z WARNING 261124-abcdef-7 two: attempt 2 failed in 12.5 ms, another follows: "
        "␛[31mbusy␊again [trace abc]"
    )


def test_a_record_of_a_library_is_formatted_too_with_its_exception() -> None:
    try:
        raise ValueError("x")
    except ValueError:
        foreign = logging.LogRecord("a.library", logging.ERROR, "f", 1, "said %s", ({1, 2},), sys.exc_info())
    found = json.loads(JsonFormatter().format(foreign))
    assert (found["logger"], found["level"], found["message"]) == ("a.library", "error", "said {1, 2}")
    assert found["exception"].endswith("ValueError: x")
    assert TextFormatter().format(foreign).splitlines()[-1] == "ValueError: x"


@pytest.mark.parametrize(("level", "attempts"), [(logging.DEBUG, 6), (logging.INFO, 0)])
async def test_attempts_are_logged_at_debug_only(
    vault: Vault, caplog: pytest.LogCaptureFixture, level: int, attempts: int
) -> None:
    caplog.set_level(level)
    async with start(toy(Ledger()), store=MemoryStore(), options=fast(vault, observers=[EventLogger(level)])) as run:
        await run.wait()
    kinds = [record.fields["event"] for record in caplog.records if hasattr(record, "fields")]
    assert kinds.count("attempt") + kinds.count("answer") == attempts
    assert kinds[0] == "started"
    assert kinds[-1] == "ended"


async def test_failures_are_logged_with_their_kind_and_code(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(script={"run two": [TransientError("busy"), PermanentError("no", code="X1")]})
    caplog.set_level(logging.WARNING)
    async with start(toy(ledger), store=MemoryStore(), options=fast(vault, observers=[EventLogger()])) as run:
        await run.wait()
    fields = [record.fields for record in caplog.records]
    assert [(one["event"], one["failure"], one.get("code")) for one in fields] == [
        ("retry", "transient", None),
        ("rolling_back", "permanent", "X1"),
    ]


# The command line


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_logs_json_lines_to_stderr_and_its_display_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--log-format", "json"]) == 0
    said = capsys.readouterr()
    found = lines_of(said.err)
    assert [one["logger"] for one in (found[0], found[-1])] == ["orchestrator.runs"] * 2
    assert found[-1]["message"] == f"run {found[0]['run']}: finished, 1 completed"
    assert [one["event"] for one in found[1:-1]] == ["started", *["moved"] * 15, "ended"]
    assert {one["run"] for one in found} == {found[0]["run"]}
    assert "Run 2" in said.out
    assert "{" not in said.out


def test_a_clean_run_logs_nothing_at_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--instances", "3", "--log-level", "warning"]) == 0
    assert capsys.readouterr().err == ""


def test_logging_is_as_before_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    root, ours = logging.getLogger(), logging.getLogger("orchestrator")
    before = (list(root.handlers), root.level, ours.level)
    assert main(["run", "--log-level", "debug"]) == 0
    assert (list(root.handlers), root.level, ours.level) == before
    capsys.readouterr()


def test_an_error_that_stops_the_run_is_a_record_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGONE_BASE_URL", "http://127.0.0.1:9")
    for name in ("CLIENT_ID", "CLIENT_SECRET", "ENVIRONMENT_ID"):
        monkeypatch.setenv(f"PINGONE_{name}", "11111111-1111-1111-1111-111111111111")
    assert main(["run", "--log-format", "json"]) == 2
    first, *rest = capsys.readouterr().err.splitlines()
    assert json.loads(first)["level"] == "error"
    assert rest == [f"orchestrator: {json.loads(first)['message']}"]


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["--log-level", "loud"], "log-level (from --log-level): must be one of debug, info, warning, error, not 'loud'"),
        (["--log-format", "xml"], "log-format (from --log-format): must be one of text, json, not 'xml'"),
    ],
)
def test_wrong_flags_are_one_line(argv: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *argv]) == 2
    assert capsys.readouterr().err == f"orchestrator: {error}\n"


# A reader that does not read


def handler_over(stream: Any, capacity: int) -> tuple[logging.Logger, ThreadedHandler]:
    logger = logging.getLogger("test of a slow reader")
    logger.propagate = False
    handler = ThreadedHandler(stream, capacity)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    return logger, handler


def full_pipe() -> tuple[int, int]:
    """A pipe that takes no more: the next write hangs until someone reads. Returns both ends."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b" " * 1024)
    except BlockingIOError:
        os.set_blocking(writing, True)
    return reading, writing


def test_records_that_nobody_reads_are_dropped_and_counted() -> None:
    reading, writing = full_pipe()
    stream = os.fdopen(writing, "w")
    logger, handler = handler_over(stream, capacity=10)
    for _ in range(100):
        logger.warning("x" * 1000)

    def close() -> None:
        handler.close()
        stream.close()

    closing = threading.Thread(target=close)
    closing.start()
    with os.fdopen(reading, "rb") as pipe:
        found = pipe.read().decode().split()
    closing.join()
    text = " ".join(found)
    dropped = [int(number) for number in re.findall(r"(\d+) log records were dropped: stderr is read too slowly", text)]
    assert sum(dropped) >= 50
    assert sum(dropped) + found.count("x" * 1000) == 100


def test_closing_does_not_wait_for_a_reader_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.telemetry.log_output.CLOSE_S", 0.05)
    reading, writing = full_pipe()
    stream = os.fdopen(writing, "w")
    logger, handler = handler_over(stream, capacity=10)
    for _ in range(100):
        logger.warning("x" * 1000)
    handler.close()
    assert handler._thread.is_alive()
    os.close(reading)  # the write fails, and the thread ends
    handler._thread.join(10)
    assert not handler._thread.is_alive()
    with suppress(BrokenPipeError):  # the buffer may hold a line
        stream.close()


def test_a_reader_that_has_gone_is_no_failure() -> None:
    stream = io.StringIO()
    logger, handler = handler_over(stream, capacity=10)
    stream.close()
    logger.warning("nobody reads this")
    handler.close()
    assert not handler._thread.is_alive()


async def test_a_run_ends_though_nobody_reads_its_log(home: Any) -> None:
    argv = [sys.executable, "-m", "orchestrator", "load", "--instances", "20", "--concurrency", "10", "--log-level", "debug"]
    async with await anyio.open_process(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = b""
        with anyio.fail_after(60):
            async for part in process.stdout:
                said += part
            assert await process.wait() == 0
    assert b"20 completed" in said
