"""Base classes of the creating states: create or adopt an object, find the object that a lost response left, remove it.

A name derives from run and instance, so an object with this name is ours: it is adopted and never created twice.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Container
from typing import Any, ClassVar

from orchestrator import AmbiguousError, Effect, Outcome, PermanentError, Recovery, ThrottledError, TransientError, done
from states.pingone.answers import AccessError, AlreadyExistsError, MissingError
from states.pingone.management import Found, Listing
from states.token_fulfillment.context import TokenContext, changed
from states.token_fulfillment.steps import Grace, TokenState, TokenStep, settings_of

_LOOKS = (0.1, 0.3, 0.6)
"""Lists are eventually consistent: a search is repeated after these fractions of the list lag. [inferred]"""


class CreatingState(TokenState):
    """Creates one object, which is deleted with its parent."""

    kind: ClassVar[str]
    """Kind of the object, in errors and reports."""
    learns: ClassVar[str]
    """Name of the field of the context that holds its id."""
    name_is_unique: ClassVar[bool] = True
    """Whether PingOne refuses a second object with the same name. If so, a search that is too early does no harm."""

    passing: ClassVar[tuple[type[PermanentError], ...]] = (AccessError, MissingError)
    """Refusals that are temporary while the objects that the request refers to are new."""

    @abstractmethod
    def object_name(self, step: TokenStep) -> str:
        """The deterministic name, for display."""

    @abstractmethod
    async def create(self, step: TokenStep) -> Found:
        """Send the request."""

    @abstractmethod
    def listing(self, step: TokenStep) -> Listing:
        """The list in which it is found by its name."""

    def is_ours(self, step: TokenStep) -> bool:
        """Whether an object with this name must be that of this instance. If not, the listing tells."""
        return True

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        try:
            with Grace(step, *self.passing):
                return self._learnt(step, await self.create(step))
        except AlreadyExistsError as error:
            if not self.is_ours(step):
                if (found := await self.look(step, thoroughly=True)) is None:
                    raise
                return self._learnt(step, found)
            if error.existing_id is not None:
                return self._learnt(step, {"id": error.existing_id})
            found = await self.look(step, thoroughly=False)
            if found is None:
                # The object exists, so the rollback must search for it during the whole list lag: the state is in doubt.
                raise AmbiguousError(f"{error.message}; but it is not listed yet", code=error.code) from error
            return self._learnt(step, found)

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Recovery:
        found = await self.look(step, thoroughly=not self.name_is_unique)
        return Recovery.NOT_FOUND if found is None else self._learnt(step, found)

    def effect(self, step: TokenStep) -> Effect:
        return Effect(kind=self.kind, name=self.object_name(step), id=self.known_id(step) or None)

    def known_id(self, step: TokenStep) -> str:
        """Its id; empty if unknown."""
        return str(getattr(step.context, self.learns))

    async def look(
        self, step: TokenStep, *, thoroughly: bool, but: Container[str] = (), listing: Listing | None = None
    ) -> Found | None:
        """Search for the object: twice within a second, or repeatedly during the whole list lag. A deleted parent has no children.

        Args:
            but: Ids to ignore.
            thoroughly: Search during the whole list lag.
            listing: The list to search, by default that of this state's object.
        """
        listing = listing or self.listing(step)
        lag = settings_of(step).lag_s
        pauses = [part * lag for part in _LOOKS] if thoroughly else [min(1.0, lag)]
        for pause in (*pauses, None):
            try:
                found = await step.services.management.find(listing, but=but)
            except MissingError:
                found = None
            except ThrottledError:
                raise
            except TransientError:
                if pause is None:
                    raise
                found = None  # the next search covers this one
            if found is not None or pause is None:
                return found
            await step.clock.sleep(pause)
        return None

    def _learnt(self, step: TokenStep, found: Found) -> Outcome[TokenContext]:
        learnt: dict[str, Any] = {self.learns: str(found["id"]), "made_at": step.clock.now()}
        return done(changed(step.context, **learnt))


class RemovableState(CreatingState):
    """Creates one object that is not deleted with a parent."""

    @abstractmethod
    async def delete(self, step: TokenStep, object_id: str) -> None:
        """Delete the object. A missing one counts as deleted."""

    async def rollback(self, step: TokenStep) -> None:
        known = self.known_id(step)
        if known:
            await self.delete(step, known)
        if known and (self.name_is_unique or not step.may_have_run):
            return
        # An attempt whose response was lost may have created it, or a second one, and lists may not show it yet.
        gone = {known}
        while found := await self.look(step, thoroughly=step.may_have_run, but=gone):
            await self.delete(step, str(found["id"]))
            if self.name_is_unique:
                return
            gone.add(found["id"])
