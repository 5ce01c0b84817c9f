"""What the creating states share: looking for an object by its name, and adopting one that is there already."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from orchestrator import Look, Step, TransientError
from states.pingone.answers import AlreadyExistsError, MissingError
from states.pingone.management import Found

LOOK_AGAIN_S = 1.0
"""Lists are eventually consistent: what is missing is looked for once more after this long. [inferred]"""

Find = Callable[[], Awaitable[Found | None]]


async def find_twice(step: Step[Any, Any], find: Find) -> Found | None:
    """What ``find`` finds at once or a moment later; a parent that is gone has no children."""
    for last in (False, True):
        try:
            found = await find()
        except MissingError:
            found = None
        if found is not None or last:
            return found
        await step.clock.sleep(LOOK_AGAIN_S)
    return None


async def adopted_id(step: Step[Any, Any], find: Find) -> str | Look:
    """The id of what a lost attempt created, or that there is nothing."""
    found = await find_twice(step, find)
    return Look.ABSENT if found is None else str(found["id"])


async def created_id(step: Step[Any, Any], create: Callable[[], Awaitable[Found]], find: Find) -> str:
    """The id of a new object, or of the one that has its name: the name is ours alone, so it is ours.

    Raises:
        TransientError: It exists, but the lists do not show it yet.
    """
    try:
        return str((await create())["id"])
    except AlreadyExistsError as error:
        if error.existing_id is not None:
            return error.existing_id
        found = await find_twice(step, find)
        if found is None:
            raise TransientError(f"{error.message}; but it is not listed yet", code=error.code) from error
        return str(found["id"])
