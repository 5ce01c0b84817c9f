"""The command ``web``: it serves until Ctrl-C, and says where."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any


def test_it_prints_a_link_serves_the_page_and_ends_by_ctrl_c(home: Path) -> None:
    command = [sys.executable, "-m", "orchestrator", "web", "--port", "0"]
    with subprocess.Popen(command, cwd=home, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as page:
        assert page.stdout is not None
        link = None
        while link is None:
            line = page.stdout.readline()
            assert line, "it has ended without a link"
            link = re.search(r"http://127\.0\.0\.1:\d+/\S+", line)
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(link.group(), timeout=30) as answer:
            assert answer.status == 200
            assert b"<html" in answer.read()
        page.send_signal(signal.SIGINT)
        rest = page.stdout.read()
        assert page.wait(60) == 0, rest
    assert "Traceback" not in rest


def test_a_port_that_is_in_use_and_an_open_address_are_refused_in_one_line(cli: Any) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = cli("web", "--port", str(port))
    assert (code, len(err.splitlines())) == (2, 1), err
    assert str(port) in err
    code, _, err = cli("web", "--address", "0.0.0.0", "--port", "0")
    assert (code, len(err.splitlines())) == (2, 1), err
    assert "--allow-remote" in err


def test_a_run_with_a_page_beside_it_prints_the_link_and_ends_as_without(cli: Any) -> None:
    code, out, err = cli("run", "--web", "0", "--json")
    assert code == 0
    assert re.search(r"^page: http://127\.0\.0\.1:\d+/\S+$", err, re.MULTILINE)
    assert '"completed": 1' in out


def test_a_port_of_the_page_that_is_none_is_refused_and_no_run_is_stored(cli: Any) -> None:
    for port in ("x", "65536", "-1"):
        code, _, err = cli("run", f"--web={port}")
        assert (code, len(err.splitlines())) == (2, 1), err
        assert f"'{port}' is not a port" in err
    assert json.loads(cli("list", "--json")[1])["runs"] == []
