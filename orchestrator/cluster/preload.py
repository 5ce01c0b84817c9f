"""Prepares each worker process before it takes tasks (Dask: ``--preload``)."""

from __future__ import annotations

import signal

from distributed import Worker

from orchestrator.process import share_arena, tune_collector


def dask_setup(worker: Worker) -> None:
    """Prepare the process. Ctrl-C reaches the whole group of a terminal: the launcher handles it, and tells the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tune_collector()
    share_arena()
