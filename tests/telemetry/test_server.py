"""The server of metrics: its address, and what happens when it cannot serve."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.cli import main
from orchestrator.errors import SettingError
from orchestrator.telemetry.address import Address, parse_address
from orchestrator.telemetry.metrics import Metrics
from orchestrator.telemetry.server import serve_metrics


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("9464", Address("127.0.0.1", 9464), "127.0.0.1:9464"),
        ("0.0.0.0:80", Address("0.0.0.0", 80), "0.0.0.0:80"),
        ("localhost:0", Address("localhost", 0), "localhost:0"),
        ("[::1]:9464", Address("::1", 9464), "[::1]:9464"),
    ],
)
def test_an_address_is_a_port_on_loopback_or_a_host_with_a_port(text: str, address: Address, shown: str) -> None:
    assert parse_address(text) == address
    assert str(address) == shown


@pytest.mark.parametrize("text", ["", "x", "70000", "host:", ":80", "::1:80", "http://localhost:80", "a b:1", "-1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is neither a port nor HOST:PORT, e\\.g\\. 9464"):
        parse_address(text)


async def test_the_server_listens_only_while_its_block_lasts() -> None:
    async with serve_metrics(Metrics(), Address("127.0.0.1", 0)) as url, aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            assert "orchestrator_build_info{" in await answer.text()
        async with session.get(url.removesuffix("metrics")) as answer:
            assert await answer.text() == "The metrics of this run are at /metrics\n"
        async with session.post(url) as answer:
            assert answer.status == 405
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)


async def test_a_name_that_does_not_resolve_is_a_setting_error() -> None:
    with pytest.raises(SettingError, match=r"metrics: cannot listen on nowhere\.invalid:1: "):
        async with serve_metrics(Metrics(), Address("nowhere.invalid", 1)):
            raise AssertionError


async def test_a_scrape_that_fails_is_a_500_and_the_server_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    async with serve_metrics(metrics, Address("127.0.0.1", 0)) as url, aiohttp.ClientSession() as session:
        with monkeypatch.context() as patch:
            patch.setattr(metrics, "families", lambda: [None])
            async with session.get(url) as answer:
                assert answer.status == 500
        async with session.get(url) as answer:
            assert answer.status == 200


@pytest.fixture
def taken() -> Any:
    """A port that another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    "command", [["run"], ["load", "--instances", "1"], ["resume"], ["retry"], ["cleanup"]], ids=lambda c: c[0]
)
def test_a_taken_port_is_one_line_before_anything_is_started(
    taken: int, command: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--metrics", str(taken)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"orchestrator: metrics: cannot listen on 127.0.0.1:{taken}: Address already in use; choose another address\n"
    )
    assert not (home / "data" / "orchestrator" / "runs.db").exists()


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["--metrics", "x"], "metrics (from --metrics): 'x' is neither a port nor HOST:PORT, e.g. 9464 or 0.0.0.0:9464"),
        (["--metrics-linger", "5s"], "metrics-linger: there are no metrics to serve; add --metrics PORT"),
        (["--metrics", "0", "--metrics-linger", "soon"], "metrics-linger (from --metrics-linger): "),
    ],
)
def test_wrong_flags_are_one_line(argv: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *argv]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"orchestrator: {error}")
    assert said.err.count("\n") == 1


def test_without_the_extra_the_flag_names_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith(("prometheus_client", "orchestrator.telemetry.server"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "orchestrator.telemetry.prometheus", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert main(["run", "--metrics", "0"]) == 2
    assert capsys.readouterr().err == (
        "orchestrator: metrics: prometheus_client is not installed; install the extra: "
        "pip install 'token-fulfillment-orchestrator[metrics]'\n"
    )


def test_a_file_and_a_variable_name_the_address_too(
    taken: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("orchestrator.toml").write_text(f"[telemetry]\nmetrics = {taken}\n")
    assert main(["run"]) == 2
    assert f"cannot listen on 127.0.0.1:{taken}" in capsys.readouterr().err
    monkeypatch.setenv("ORCHESTRATOR_METRICS", f"localhost:{taken}")
    assert main(["run"]) == 2
    assert f"cannot listen on localhost:{taken}" in capsys.readouterr().err


def test_a_run_that_is_served_ends_by_itself_and_names_the_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--metrics", "0"]) == 0
    said = capsys.readouterr()
    assert "; metrics: http://127.0.0.1:" in said.out.splitlines()[0]
    assert said.err == ""
