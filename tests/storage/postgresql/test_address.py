"""Addresses: URLs, service files, passwords, TLS; no password is ever shown."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrator import SettingError, StoreError, open_store
from orchestrator.cli import main
from orchestrator.storage.postgresql.address import Address
from orchestrator.storage.url import has_password, without_password
from tests.storage.postgresql.test_outages import socket_of
from tests.support.certificates import self_signed
from tests.support.relay import relay

SECRET = "s3cr?t/@:&%41"


def parameters(url: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    """What asyncpg is given."""
    address = Address.parse(url, environ or {})
    return {name: values[0] for name, values in parse_qs(urlsplit(address.dsn).query).items()}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me@db.example.com:5433/runs", {"user": "me", "host": "db.example.com:5433", "dbname": "runs"}),
        ("postgres:///runs?host=/run/pg&sslmode=verify-full", {"host": "/run/pg", "dbname": "runs", "sslmode": "verify-full"}),
        ("postgresql://%2Frun%2Fpg/runs", {"host": "/run/pg", "dbname": "runs"}),
        ("postgresql://a,b:5433/x?target_session_attrs=read-write", {"host": "a,b:5433", "dbname": "x"}),
        ("postgresql://", {}),
    ],
)
def test_a_url_is_read_as_libpq_reads_it(url: str, expected: dict[str, str]) -> None:
    found = parameters(url)
    assert found.items() >= expected.items()
    assert found["application_name"] == "orchestrator"


def test_a_service_completes_the_url_and_the_url_wins(tmp_path: Path) -> None:
    file = tmp_path / "services"
    file.write_text(f"# ours\n[orch]\nhost=db.example.com\ndbname=runs\nuser=me\npassword={SECRET}\nkeepalives=1\n")
    for environ in ({"PGSERVICEFILE": str(file)}, {"PGSYSCONFDIR": str(tmp_path / "system"), "HOME": str(tmp_path)}):
        (tmp_path / "system").mkdir(exist_ok=True)
        (tmp_path / "system" / "pg_service.conf").write_text(file.read_text())
        address = Address.parse("postgresql:///?service=orch&user=you", environ)
        assert address.password == SECRET
        found = parameters("postgresql:///?service=orch&user=you", environ)
        assert (found["host"], found["dbname"], found["user"]) == ("db.example.com", "runs", "you")
        assert parameters("postgresql://", {**environ, "PGSERVICE": "orch"})["dbname"] == "runs"
        assert SECRET not in repr(address) + address.shown


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql:///?service=nobody", "the service 'nobody' is not in"),
        ("postgresql:///x?schema=Robert'; DROP", "is not a name of lower-case letters"),
        ("postgresql:///x?schema=pg_catalog", "is not a name of lower-case letters"),
        ("postgresql:///x?sslmod=require", "the parameter 'sslmod' is not supported"),
        ("postgresql:///x?connect_timeout=soon", "connect_timeout 'soon' is not a number"),
        ("postgresql:///x?schema", "is not a URL of PostgreSQL"),
    ],
)
def test_a_wrong_url_is_refused_in_one_line(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=message):
        Address.parse(url, {"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@h/x", "postgresql://me@h/x"),
        ("postgresql://me:p@w:x@h/x", "postgresql://me@h/x"),
        ("postgresql://h/x?password=pw&schema=s", "postgresql://h/x?schema=s"),
        ("postgresql://h/x?schema=s&password=pw", "postgresql://h/x?schema=s"),
        ("postgresql://h/x?sslpassword=pw", "postgresql://h/x"),
        ("postgrsql://me:pw@h/x", "postgrsql://me@h/x"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert (without_password(url), has_password(url)) == (shown, True)


@pytest.mark.parametrize(
    "url", ["postgresql://me@h/x?schema=s", "postgresql:///?service=orch", "/var/lib/runs.db", "sqlite:x@y:z"]
)
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert (without_password(url), has_password(url)) == (url, False)


def test_a_password_in_a_flag_is_refused_and_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--store", "postgresql://me:hidden@localhost/x"]) == 2
    said = capsys.readouterr().err
    assert "every user of this machine can read a password on the command line" in said
    assert "hidden" not in said


def test_a_password_in_the_environment_is_used_and_not_repeated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_STORE", "postgresql://me:hidden@127.0.0.1:1/x")
    assert main(["list"]) == 2
    assert main(["doctor"]) == 2
    said = "".join(capsys.readouterr())
    assert "the store postgresql://me@127.0.0.1:1/x" in said.replace("\n", " ")
    assert "hidden" not in said


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:hidden@localhost:54x/x", "54x"),
        ("postgresql://me:hidden@nobody.invalid/x", "check the name of the host"),
        ("postgresql://me:hidden@127.0.0.1:1/x", "start the server, or correct the address"),
        ("postgresql://me:hidden@/x?host=/nowhere", "correct the folder of its socket"),
        ("postgresql://me:hidden@127.0.0.1:1/x?sslmode=always", "sslmode"),
    ],
)
async def test_a_server_that_cannot_be_reached_is_explained_without_the_password(url: str, message: str) -> None:
    pytest.importorskip("asyncpg")
    with pytest.raises((SettingError, StoreError), match=message) as refused:
        async with open_store(url):
            pass
    assert "hidden" not in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_a_wrong_password_is_refused_and_not_shown() -> None:
    """The server of the tests trusts everybody, so a relay speaks for one that does not."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "me"\0\0'
        writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        await writer.drain()
        writer.close()

    pytest.importorskip("asyncpg")
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(
            StoreError, match=r"password authentication failed for user .me.; set PGPASSWORD, PGPASSFILE"
        ) as refused:
            async with open_store(f"postgresql://me:hidden@127.0.0.1:{port}/x?sslmode=disable"):
                pass
    assert "hidden" not in str(refused.value)


async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.storage.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"pip install 'token-fulfillment-orchestrator\[postgresql\]'"):
        async with open_store("postgresql://localhost/x"):
            pass


@pytest.mark.parametrize(
    ("mode", "trusts", "opens"), [("verify-full", True, True), ("verify-full", False, False), ("require", False, True)]
)
async def test_the_certificate_of_the_server_is_verified_as_libpq_does(
    postgresql_url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch, mode: str, trusts: bool, opens: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("HOME", os.getcwd())
    monkeypatch.setenv("PGSSLMODE", mode)
    if trusts:
        monkeypatch.setenv("PGSSLROOTCERT", str(certificate))
    else:
        (Path.cwd() / ".postgresql").mkdir()
        if mode == "verify-full":
            (Path.cwd() / ".postgresql" / "root.crt").write_bytes(self_signed())
    schema = postgresql_url.partition("&schema=")[2]
    async with relay(socket_of(postgresql_url), context) as between:
        url = f"postgresql://postgres@localhost:{between.port}/postgres?schema={schema}"
        if opens:
            async with open_store(url) as store:
                assert (await store.runs()).total == 0
        else:
            with pytest.raises(StoreError, match="certificate verify failed"):
                async with open_store(url):
                    pass
