"""What the creating states share: create or adopt, look for what a lost answer left, remove.

A name that derives from run and instance is ours alone, so whatever bears it is ours: it is adopted, never made twice.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from attrs import evolve

from orchestrator import Effect, Look, Outcome, TransientError, done
from states.pingone.answers import AlreadyExistsError, MissingError
from states.pingone.management import Found
from states.token_fulfillment.context import TokenContext
from states.token_fulfillment.steps import TokenState, TokenStep

LOOK_AGAIN_S = 1.0
"""Lists are eventually consistent: what is missing is looked for once more after this long. [inferred]"""


class CreatingState(TokenState):
    """Creates one object, which goes away with its parent."""

    kind: ClassVar[str]
    """What it is called in errors and reports."""
    learns: ClassVar[str]
    """The field of the context that holds its id."""

    @abstractmethod
    def object_name(self, step: TokenStep) -> str:
        """The deterministic name, as people see it."""

    @abstractmethod
    async def create(self, step: TokenStep) -> Found:
        """Send the request."""

    @abstractmethod
    async def find(self, step: TokenStep) -> Found | None:
        """Look for it by its name, once."""

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        try:
            return self._learnt(step, await self.create(step))
        except AlreadyExistsError as error:
            if error.existing_id is not None:
                return self._learnt(step, {"id": error.existing_id})
            found = await self.find_twice(step)
            if found is None:
                raise TransientError(f"{error.message}; but it is not listed yet", code=error.code) from error
            return self._learnt(step, found)

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Look:
        found = await self.find_twice(step)
        return Look.ABSENT if found is None else self._learnt(step, found)

    def effect(self, step: TokenStep) -> Effect:
        return Effect(kind=self.kind, name=self.object_name(step), id=self.known_id(step) or None)

    def known_id(self, step: TokenStep) -> str:
        """Its id, empty until it is learnt."""
        return str(getattr(step.context, self.learns))

    async def find_twice(self, step: TokenStep) -> Found | None:
        """What :meth:`find` finds at once or a moment later; a parent that is gone has no children."""
        for last in (False, True):
            try:
                found = await self.find(step)
            except MissingError:
                found = None
            if found is not None or last:
                return found
            await step.clock.sleep(LOOK_AGAIN_S)
        return None

    def _learnt(self, step: TokenStep, found: Found) -> Outcome[TokenContext]:
        learnt: dict[str, Any] = {self.learns: str(found["id"])}
        return done(evolve(step.context, **learnt))


class RemovableState(CreatingState):
    """Creates one object that has to be removed by itself."""

    @abstractmethod
    async def delete(self, step: TokenStep, object_id: str) -> None:
        """Send the request; what is not there is deleted."""

    async def rollback(self, step: TokenStep) -> None:
        object_id = self.known_id(step)
        if not object_id:
            found = await self.find_twice(step)
            object_id = str(found["id"]) if found else ""
        if object_id:
            await self.delete(step, object_id)
