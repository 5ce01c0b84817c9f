"""A start with an id of the caller's choice, killed and repeated until it succeeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.support.runs import completed


def test_a_start_that_is_killed_and_repeated_makes_nothing_twice(home: Path) -> None:
    argv = [sys.executable, "-m", "orchestrator", "load", "--id", "nightly", "--instances", "60", "--concurrency", "3", "--json"]
    argv += ["--on-success", "keep"]
    for killed_at in (1, 20, 40):
        with subprocess.Popen(argv, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as load:
            while completed(home) < killed_at:
                assert load.poll() is None, "it has ended before it could be killed"
                time.sleep(0.02)
            load.kill()
    done = subprocess.run(argv, env=os.environ, capture_output=True, text=True, check=False)
    again = subprocess.run(argv, env=os.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, again.returncode) == (0, 0), done.stderr
    document = json.loads(done.stdout)
    assert document["counts"] == {"completed": 60}
    assert document["existing"] == dict.fromkeys(document["existing"], 60)
    assert json.loads(again.stdout)["counts"] == {"completed": 60}
    listed = subprocess.run([*argv[:3], "list", "--json"], env=os.environ, capture_output=True, text=True, check=True)
    assert [row["run"] for row in json.loads(listed.stdout)["runs"]] == ["nightly"]
