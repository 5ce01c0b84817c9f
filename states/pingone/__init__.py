"""The client of PingOne's API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from orchestrator import Clock, RequestTracer
from states.pingone.answers import refusal
from states.pingone.management import Management
from states.pingone.masking import MASKING
from states.pingone.policies import SignOnPolicies
from states.pingone.settings import PingOneSettings
from states.pingone.sign_on import SignOn
from states.pingone.tokens import Tokens
from states.pingone.worker_token import WorkerToken

if TYPE_CHECKING:
    from states.http.session import Session


@attrs.frozen(kw_only=True)
class PingOne:
    """The client of one tenant, shared by all instances of a process."""

    settings: PingOneSettings
    worker_token: WorkerToken
    management: Management
    policies: SignOnPolicies
    sign_on: SignOn
    tokens: Tokens


def client_over(session: Session, settings: PingOneSettings, clock: Clock) -> PingOne:
    """A client that sends its requests over this session."""
    token = WorkerToken(session, settings, clock)
    management = Management(session, settings, token)
    return PingOne(
        settings=settings,
        worker_token=token,
        management=management,
        policies=SignOnPolicies(management),
        sign_on=SignOn(session, settings, token),
        tokens=Tokens(session, settings),
    )


@asynccontextmanager
async def open_client(
    settings: PingOneSettings, clock: Clock, check_lease: Callable[[], None], tracer: RequestTracer | None = None
) -> AsyncIterator[PingOne]:
    """A client with its own session. ``check_lease`` is called before every request and raises if this process may not send it."""
    from states.http.session import open_session  # noqa: PLC0415  # imports aiohttp, and some commands only read a run

    async with open_session(check_lease, refuse=refusal, masking=MASKING, tracer=tracer) as session:
        yield client_over(session, settings, clock)
