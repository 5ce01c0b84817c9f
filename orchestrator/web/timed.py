"""Measures the CPU time of a coroutine, without that of the tasks that run while it waits."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Timed(Generic[T]):
    """Awaits something; ``spent_s`` is the CPU time that its own steps took. Work in other threads is not counted."""

    def __init__(self, work: Awaitable[T]) -> None:
        self.spent_s = 0.0
        self._work = work

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._work.__await__()
        value: Any = None
        error: BaseException | None = None
        while True:
            began = time.thread_time()
            try:
                waits_for = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self.spent_s += time.thread_time() - began
            value, error = None, None
            try:
                value = yield waits_for
            except BaseException as raised:  # noqa: BLE001  # a cancellation, too, belongs to the work
                error = raised
