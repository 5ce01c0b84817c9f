"""The client of a tenant over a fake transport."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import Clock, Secret, SystemClock
from states.http.session import Session
from states.pingone import PingOne, client_over
from states.pingone.answers import refusal
from states.pingone.masking import MASKING
from states.pingone.settings import PingOneSettings, Region
from tests.support.transport import FakeTransport

SETTINGS = PingOneSettings(client_id="worker", client_secret=Secret("worker-secret"), environment_id="env-1", region=Region.EU)
TOKEN = "https://auth.pingone.eu/env-1/as/token"
API = "https://api.pingone.eu/v1/environments/env-1"


def client(http: FakeTransport, clock: Clock | None = None, check_lease: Callable[[], None] = lambda: None) -> PingOne:
    """A client of ``SETTINGS``."""
    session = Session(http.send, check_lease, refuse=refusal, masking=MASKING)
    return client_over(session, SETTINGS, clock or SystemClock())
