"""The ids of runs and instances.

A run id consists of groups of lower-case letters and digits, with single hyphens between them. It has at most ``LONGEST_RUN_ID``
characters, and it does not end with a hyphen and a number, because ``RUN-NUMBER`` is the id of an instance. So both can be told
apart without a look into the store, and each is safe in file names, URLs, shells, and in the names of objects: the
token-fulfillment workflow makes host names of them, where case does not matter and a label has 63 characters.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

from orchestrator.errors import SettingError, shortened

LONGEST_RUN_ID = 48
"""Leaves 15 characters of a host label (63): a prefix, and the number of the instance."""
_LONGEST_NUMBER = 10
"""Maximum digits of an instance's number."""
# Crockford's base 32 in lower case: no letter looks like a digit.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_GROUPS = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_INSTANCE = re.compile(rf"(.+)-([0-9]{{1,{_LONGEST_NUMBER}}})")


def new_run_id(now: float) -> str:
    """A fresh run id, e.g. ``261123-k7m3qp``: the day (UTC) and 30 random bits."""
    day = datetime.fromtimestamp(now, UTC).strftime("%y%m%d")
    while True:
        bits = int.from_bytes(os.urandom(4), "big")
        tail = "".join(_ALPHABET[(bits >> shift) & 31] for shift in range(0, 30, 5))
        if not tail.isdecimal():  # one in a thousand would be the number of an instance
            return f"{day}-{tail}"


def check_run_id(text: str) -> str:
    """``text``, if it can be the id of a run. Raises ``SettingError``."""
    if len(text) > LONGEST_RUN_ID:
        raise SettingError("id", f"{shortened(text)} has {len(text)} characters, and {LONGEST_RUN_ID} is the maximum")
    if not _GROUPS.fullmatch(text):
        raise SettingError(
            "id", f"{shortened(text)} must consist of a-z and 0-9, with single hyphens between them, e.g. nightly-build-7a"
        )
    if (found := _INSTANCE.fullmatch(text)) is not None:
        name, number = found.groups()
        raise SettingError(
            "id",
            f"{text!r} would be instance {int(number)} of a run {name!r}; do not end with a hyphen and a number: {name}{number}",
        )
    return text


def parse_id(text: str) -> tuple[str, int | None]:
    """Split the id of a run (``261123-k7m3qp``) or of an instance (``261123-k7m3qp-17``) into run id and number.

    Raises:
        ValueError: ``text`` is neither.
    """
    found = _INSTANCE.fullmatch(text)
    run_id, number = (text, None) if found is None else (found[1], int(found[2]))
    try:
        return check_run_id(run_id), number
    except SettingError:
        raise ValueError(
            f"{shortened(text)} is not the id of a run (like 261123-k7m3qp) or of an instance (261123-k7m3qp-0)"
        ) from None
