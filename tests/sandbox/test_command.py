"""The command ``sandbox`` in this process: it serves until a signal, and prints its address for people and for programs."""

from __future__ import annotations

import signal
import socket
import threading
import urllib.request

import orjson
import pytest

from states.sandbox.command import sandbox
from tests.support.waiting import block_until


def end_when_served(port: int) -> None:
    """Press Ctrl-C as soon as the sandbox answers."""

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/sandbox/audit", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:  # it does not listen yet
            return False

    block_until(answers, every_s=0.005)
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def port() -> int:
    """A free port, on which a sandbox is ended when it answers."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        free: int = unused.getsockname()[1]
    threading.Thread(target=end_when_served, args=[free], daemon=True).start()
    return free


def test_it_prints_variables_to_export(capsys: pytest.CaptureFixture[str], port: int) -> None:
    assert sandbox(port=port) == 0
    out = capsys.readouterr().out
    assert f"# sandbox at http://127.0.0.1:{port}" in out
    assert f"export PINGONE_BASE_URL=http://127.0.0.1:{port}\n" in out
    assert out.count("export PINGONE_") == 4
    assert "/as/.well-known/openid-configuration" in out


def test_it_prints_one_document_for_programs(capsys: pytest.CaptureFixture[str], port: int) -> None:
    assert sandbox(port=port, seed=7, json=True) == 0
    assert orjson.loads(capsys.readouterr().out)["PINGONE_BASE_URL"] == f"http://127.0.0.1:{port}"


def test_a_port_that_is_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert sandbox(port=number) == 2
    assert capsys.readouterr().err.startswith(f"orchestrator: port {number} cannot be used: ")
