"""The command ``cluster``: certificates, and what it refuses before a process of Dask begins."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest


def test_certificates_are_written_once(cli: Any, home: Path) -> None:
    code, out, _ = cli("cluster", "certs", "tls")
    assert code == 0
    assert "can run code on all of them" in out
    written = sorted((home / "tls").iterdir())
    assert len(written) == 3
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in written)
    code, _, err = cli("cluster", "certs", "tls")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "holds certificates already" in err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["certs"], "name a folder"),
        (["worker"], "name the scheduler"),
        (["worker", "tcp://127.0.0.1:1", "--processes", "many"], "processes"),
        (["worker", "tcp://127.0.0.1:1", "--processes", "2", "--no-nanny"], "one process restarts nobody"),
        (["worker", "tls://node1:8786"], "certificates"),
        (["scheduler", "--host", "0.0.0.0"], "not encrypted"),
        (["scheduler", "--tls", "missing"], "missing"),
        (["shrink"], "certs, scheduler or worker"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_begin_is_refused_in_one_line(cli: Any, argv: list[str], said: str) -> None:
    code, _, err = cli("cluster", *argv)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert said in err
