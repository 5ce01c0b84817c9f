"""Settings of the sandbox as text: read, or refused by the command ``sandbox`` in one line, with exit code 2, without a server."""

from __future__ import annotations

import attrs
import pytest

from states.sandbox import AuthorizeError
from states.sandbox.command import sandbox
from states.sandbox.settings import SandboxSettings, with_settings

SETTINGS = {
    "duplicate_status=999999": "duplicate_status: must be one of 400, 409, not 999999",
    "population_delete_status=200": "population_delete_status: must be between 400 and 499, not 200",
    "unknown_environment_status=500": "unknown_environment_status: must be one of 400, 401, 403, 404, not 500",
    "assertion_error_status=0": "assertion_error_status: must be one of 400, 401, not 0",
    "population_delete_code=not a code": "population_delete_code: must be an error code like INVALID_DATA, not 'not a code'",
    "credential_error_code=": "credential_error_code: must be an error code like INVALID_DATA, not ''",
    "token_typ=saml": "token_typ: must be one of at+jwt, JWT, not 'saml'",
    "page_size=1001": "page_size: must be between 1 and 1000, not 1001",
    "max_applications=-1": "max_applications: must be 0 or more, not -1",
    "configuration_per_minute=-5": "configuration_per_minute: must be 0 or more, not -5",
    "code_lifetime_s=inf": "code_lifetime_s: must be between 0 and 1000000000 seconds, not inf",
    "secret_delay_s=1e300": "secret_delay_s: must be between 0 and 1000000000 seconds, not 1e+300",
    "list_delay_s=soon": "list_delay_s: must be a number, not 'soon'",
    "seed=1.5": "seed: must be a whole number, not '1.5'",
    "seed=" + "9" * 5000: "seed: must be a whole number, not '99999",
    "existing_id=maybe": "existing_id: must be true or false, not 'maybe'",
    "authorize_errors=shout": "authorize_errors: must be one of redirect, sign-on page, body, not 'shout'",
    "environment_id=a/b": "environment_id: must be 1 to 128 letters, digits or ._~-, not 'a/b'",
    "worker_id=": "worker_id: must be 1 to 128 letters, digits or ._~-, not ''",
    "worker_secret=\u00e9": "worker_secret: must be 1 to 256 printable ASCII characters, not",
    "page_size": "setting 'page_size' is not NAME=VALUE",
}


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert len(err) < 1200
    return err


@pytest.mark.parametrize("text", list(SETTINGS), ids=lambda text: text[:40])
def test_a_setting_that_makes_no_sense_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert SETTINGS[text] in refused(capsys, sandbox(setting=(text,)))


def test_a_setting_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert "setting page_size is given twice" in refused(capsys, sandbox(setting=("page_size=5", "page-size=6")))


def test_every_number_and_text_among_the_settings_is_checked() -> None:
    """Fails for a new setting without a case; any whole number is a valid seed."""
    unchecked = {
        field.name
        for field in attrs.fields(SandboxSettings)
        if field.validator is None and field.type not in ("bool", "AuthorizeError")
    }
    assert unchecked == {"seed"}


FAULTS = {
    "token:503@500%": "the share must be above 0% and at most 100%",
    "token:503@0%": "the share must be above 0% and at most 100%",
    "token:503*0": "it must be played at least once, as in *1",
    "token:503*9999999999": "is not of the form",
    "token:latency": "latency needs its seconds, as in latency=0.02",
    "token:reset_before=3": "reset_before takes no value",
    "token:reset_after=3": "reset_after takes no value",
    "token:503=1000000001": "at most 1000000000 seconds are allowed",
    "token:hang_before=" + "9" * 400: "at most 1000000000 seconds are allowed",
    "token:600": "there is no kind '600'",
    "token:200": "there is no kind '200'",
}


@pytest.mark.parametrize("text", list(FAULTS), ids=lambda text: text[:40])
def test_a_fault_that_could_not_be_played_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert FAULTS[text] in refused(capsys, sandbox(faults=text))


@pytest.mark.parametrize("port", [-1, 65536, 10**30])
def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], port: int) -> None:
    assert f"port: must be between 0 and 65535, not {port}" in refused(capsys, sandbox(port=port))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("list-delay-s=0.5", 0.5),
        ("page_size=7", 7),
        ("existing_id=false", False),
        ("seed=3", 3),
        ("authorize_errors=body", AuthorizeError.BODY),
    ],
)
def test_a_setting_is_read_by_its_type(text: str, value: object) -> None:
    name = text.partition("=")[0].replace("-", "_")
    assert getattr(with_settings(SandboxSettings(), [text]), name) == value
