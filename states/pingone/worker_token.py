"""The worker's token: fetched once, shared by all instances, renewed early and after a 401.

If a renewal fails, the token stays in use until it expires, and the pause before the next renewal grows.

A worker application authenticates in one way, ``CLIENT_SECRET_BASIC`` or ``CLIENT_SECRET_POST``. If the first is refused, the
second is tried, and the one that works is kept. A token from the settings is used unchanged and cannot be renewed.

Source: PingOne Platform API, "Get a PingOne admin access token"; RFC 6749 sections 2.3.1 and 4.4.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import anyio

from orchestrator import AmbiguousError, Clock, PermanentError, Secret, StepError, TransientError
from states.http.bodies import FORM, form_body
from states.http.errors import NoConnectionError
from states.http.reply import Reply
from states.pingone.answers import UnauthorizedError
from states.pingone.settings import PingOneSettings

if TYPE_CHECKING:
    from states.http.session import Session

RENEW_AT = 0.8
"""Fraction of its lifetime after which a token is renewed. [inferred]"""
RENEWAL_LIMIT_S = 5.0
"""Time limit of a renewal while the old token is valid, because its caller waits for it."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Pause between two failed renewals: doubled after each failure, then multiplied by a random factor from 0.5 to 1."""


class WorkerToken:
    """Shares the token: of all concurrent callers, one fetches it."""

    def __init__(self, session: Session, settings: PingOneSettings, clock: Clock) -> None:
        self._session = session
        self._settings = settings
        self._clock = clock
        self._lock = anyio.Lock()
        self._token: Secret | None = None
        self._uses_basic: bool | None = None
        """How the worker authenticates; ``None`` until one of the two ways has worked."""
        self._renew_at = 0.0
        """When the next renewal is due (steady time)."""
        self._expires_at = 0.0
        self._failures = 0
        """Renewals in a row that failed."""
        self._rng = Random()

    async def get(self) -> Secret:
        """A valid token.

        Raises:
            PermanentError: The worker's credentials were refused.
            TransientError: It could not be fetched. (Never ambiguous, because a second token does no harm.)
        """
        if self._settings.api_access_token is not None:
            return self._settings.api_access_token
        now = self._clock.steady()
        if self._token is not None and (now < self._renew_at or (now < self._expires_at and self._lock.locked())):
            return self._token
        async with self._lock:
            if self._token is None or self._clock.steady() >= self._expires_at:
                await self._fetch()
            elif self._clock.steady() >= self._renew_at:
                await self._renew()
            assert self._token is not None
            return self._token

    async def authorize(self, send: Callable[[Secret], Awaitable[Reply]]) -> Reply:
        """Send a request with the token. A 401 means that the request had no effect, so it is sent once more with a new token.

        Raises:
            UnauthorizedError: The new token was refused too, or the token cannot be renewed.
        """
        token = await self.get()
        try:
            return await send(token)
        except UnauthorizedError as error:
            if self._settings.api_access_token is not None:
                message = f"{error.message}; is the token in PINGONE_API_ACCESS_TOKEN still valid?"
                raise UnauthorizedError(message, code=error.code) from error
            if token is self._token:  # the first caller with a 401 drops the token, the others find a new one
                self._token = None
        return await send(await self.get())

    async def _renew(self) -> None:
        """Try to replace a token that is still valid."""
        try:
            with anyio.CancelScope(deadline=self._clock.deadline(RENEWAL_LIMIT_S)) as limit:
                await self._fetch()
        except StepError:
            pass
        else:
            if not limit.cancelled_caught:
                return
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        self._failures += 1
        self._renew_at = min(self._expires_at, self._clock.steady() + self._rng.uniform(pause / 2, pause))

    async def _fetch(self) -> None:
        asked = self._clock.steady()
        try:
            data = (await self._ask_either_way()).json()
            token, lifetime = str(data["access_token"]), float(data.get("expires_in") or 3600)
        except AmbiguousError as error:
            raise TransientError(error.message, code=error.code, retry_after=error.retry_after) from error
        except NoConnectionError:
            raise
        except PermanentError as error:
            # Not as its own class: a 404 of this endpoint does not mean that the object of the caller's request is missing.
            raise PermanentError(
                f"{error.message}; check PINGONE_CLIENT_ID, PINGONE_CLIENT_SECRET and PINGONE_ENVIRONMENT_ID", code=error.code
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise PermanentError("get a worker token: the answer is not an OAuth token response", code="not_oauth") from error
        self._token = Secret(token)
        self._renew_at = asked + lifetime * RENEW_AT
        self._expires_at = asked + lifetime
        self._failures = 0

    async def _ask_either_way(self) -> Reply:
        """Authenticate in the way that worked before, else try both."""
        if self._uses_basic is not None:
            return await self._ask(uses_basic=self._uses_basic)
        try:
            reply, uses_basic = await self._ask(uses_basic=True), True
        except UnauthorizedError as error:
            try:
                reply, uses_basic = await self._ask(uses_basic=False), False
            except UnauthorizedError:
                raise error from None
        self._uses_basic = uses_basic
        return reply

    async def _ask(self, *, uses_basic: bool) -> Reply:
        settings = self._settings
        assert settings.client_id is not None
        assert settings.client_secret is not None
        headers, fields = {}, {"grant_type": "client_credentials"}
        if uses_basic:
            pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret.reveal())}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            fields |= {"client_id": settings.client_id, "client_secret": settings.client_secret.reveal()}
        return await self._session.send(
            "get a worker token",
            "POST",
            f"{settings.auth_root(settings.environment_id)}/as/token",
            headers=headers,
            body=form_body(fields),
            media_type=FORM,
            secrets=[settings.client_secret],
        )
