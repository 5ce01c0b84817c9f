"""The settings of a tenant: hosts, and combinations that are refused."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from orchestrator import Secret, SettingError
from states.pingone.settings import PingOneSettings, Region
from tests.support.pingone import SETTINGS


def test_regions_have_hosts() -> None:
    hosts = {region: attrs.evolve(SETTINGS, region=region).auth_url for region in Region}
    assert hosts[Region.NA] == "https://auth.pingone.com"
    assert hosts[Region.AU] == "https://auth.pingone.com.au"
    assert hosts[Region.AP] == "https://auth.pingone.asia"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"client_id": "a"}, "client-secret, environment-id: missing"),
        ({"base_url": "http://127.0.0.1:1"}, "missing"),
        (
            {"client_id": "a", "client_secret": Secret("b"), "environment_id": "c", "base_url": "http://example.com"},
            "in the clear",
        ),
        *(
            ({"client_id": "a", "client_secret": Secret("b"), "environment_id": "c", "base_url": url}, "is not an address")
            for url in ("nonsense", "http://a b", "http://h:x", "http://h:99999", "http://h:0", "https://h?x=1", "https://h#x")
        ),
        ({"client_id": "a", "client_secret": Secret("b"), "environment_id": "c", "base_url": "https://[x"}, "not an address"),
        (
            {"client_id": "a", "client_secret": Secret("b"), "environment_id": "c", "base_url": "https://u:p@h"},
            "user name or a password",
        ),
    ],
)
def test_half_a_tenant_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        PingOneSettings(**given)
