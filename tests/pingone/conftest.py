"""A transport that issues a worker token."""

from __future__ import annotations

import pytest

from tests.support.pingone import TOKEN
from tests.support.transport import FakeTransport


@pytest.fixture
def http() -> FakeTransport:
    fake = FakeTransport()
    fake.post(TOKEN, json={"access_token": "token-1", "expires_in": 3600})
    return fake
