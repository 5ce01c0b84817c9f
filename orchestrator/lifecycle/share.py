"""Share: the part of a run that one process drives, as a set of its shards. Pure.

A shard owns the instances whose number leaves its index as the remainder, and of the places of a closed scenario those whose
number does. So every scenario splits evenly and without rounding: arrival *n* is due when it is due, whichever process starts
it, and a ramp that rises by one place gives that place to one process.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs


def _sorted(indices: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(indices))


@attrs.frozen
class Share:
    """Some of the ``of`` shards of a run.

    Raises:
        ValueError: No shard is given, or one that is not there.
    """

    indices: tuple[int, ...] = attrs.field(default=(0,), converter=_sorted)
    of: int = 1

    def __attrs_post_init__(self) -> None:
        if not self.indices or not 0 <= self.indices[0] <= self.indices[-1] < self.of:
            raise ValueError(f"{self.indices} are not shards of {self.of}")

    @property
    def is_all(self) -> bool:
        """Whether it is the whole run."""
        return len(self.indices) == self.of

    def owns(self, number: int) -> bool:
        """Whether this instance, or this place, is in it."""
        return number % self.of in self.indices

    def nth(self, count: int) -> int:
        """The number of its own instance, or place, before which there are ``count`` others of its own."""
        whole, rest = divmod(count, len(self.indices))
        return whole * self.of + self.indices[rest]

    def part(self, count: int) -> int:
        """How many of the first ``count`` numbers are in it."""
        return sum((count - index + self.of - 1) // self.of for index in self.indices if index < count)
