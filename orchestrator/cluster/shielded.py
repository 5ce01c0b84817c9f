"""Gives work a limited time to finish after a cancellation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio


async def finish_within(
    seconds: float, work: Callable[[], Awaitable[None]], fail: Callable[[Exception], None], on_cancel: Callable[[], None]
) -> None:
    """Wait for ``work``, and for ``seconds`` longer when cancelled; then it is cancelled, too.

    Args:
        fail: Called with the error that ends ``work``.
        on_cancel: Called at the cancellation, to end ``work`` early.
    """
    finished, shield = anyio.Event(), anyio.CancelScope(shield=True)

    async def run() -> None:
        try:
            with shield:
                await work()
        except Exception as error:  # noqa: BLE001  # given to the caller
            fail(error)
        finally:
            finished.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            await finished.wait()
        except anyio.get_cancelled_exc_class():
            on_cancel()
            with anyio.move_on_after(seconds, shield=True):
                await finished.wait()
            shield.cancel()
            with anyio.CancelScope(shield=True):
                await finished.wait()
            raise
