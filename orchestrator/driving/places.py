"""Places: the slots of instances that a process drives at once, and the number of those that make load."""

from __future__ import annotations

import anyio


class Places:
    """The places that workers hold. An instance that begins no further round has left its place, though its worker still holds it."""

    def __init__(self) -> None:
        self.taken = 0
        """Places that workers hold."""
        self.door = anyio.Lock()
        """Held by the worker that gets the next place of a ramp; the others queue for it."""
        self.changed = anyio.Event()
        """Set: the worker at the door checks again."""
        self._leaving: set[int] = set()
        """Instances that have a worker and begin no further round."""
        self._closing: set[int] = set()
        """Instances that begin no further round for lack of time: no new instance would have time in their places either."""

    @property
    def going(self) -> int:
        """Places whose instances make load."""
        return self.taken - len(self._leaving)

    def take(self) -> None:
        """Take a place."""
        self.taken += 1

    def leave(self, number: int) -> None:
        """This instance begins no further round; in a ramp another instance may take its place."""
        if number not in self._closing:
            self._leaving.add(number)
            self.changed.set()

    def leave_closed(self, number: int) -> None:
        """This instance begins no further round, and its place must not be filled again."""
        self._closing.add(number)

    def stay(self, number: int) -> None:
        """This instance may begin a further round: it is asked again after a failed attempt."""
        self._leaving.discard(number)
        self._closing.discard(number)

    def give_back(self, number: int | None) -> bool:
        """Give back the place of a worker; ``False``: it must not be filled again.

        Args:
            number: The instance that the worker drove, if any.
        """
        if number is not None:
            self._leaving.discard(number)
            if number in self._closing:
                return False
        self.taken -= 1
        self.changed.set()
        return True
