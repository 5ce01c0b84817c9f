"""Settings of a whole process."""

import ctypes
import subprocess
import sys

import pytest

THREADS = """
import ctypes, threading
from orchestrator.process import share_arena
{first}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
threads = [threading.Thread(target=libc.malloc, args=(1000,)) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_stats()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_stats"), reason="needs glibc")
@pytest.mark.parametrize(("first", "is_one"), [("share_arena()", True), ("", False)])
def test_threads_share_an_arena_of_malloc(first: str, is_one: bool) -> None:
    done = subprocess.run([sys.executable, "-c", THREADS.format(first=first)], capture_output=True, text=True, check=True)
    assert "Arena 0:" in done.stderr
    assert ("Arena 1:" not in done.stderr) is is_one
