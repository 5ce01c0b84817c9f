"""The address of a database: a URL, completed from service files and variables by the conventions of libpq.

asyncpg reads ``PGHOST``, ``PGPASSFILE``, ``~/.pgpass``, ``PGSSLMODE`` and their like. Service files are read here: asyncpg ignores
one that does not exist or lacks the service, and the database that it names.
Source: PostgreSQL documentation, "Connection URIs" and "The Connection Service File".
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import attrs

from orchestrator.errors import SettingError, shortened
from orchestrator.storage.url import without_password

SCHEMA = "orchestrator"
"""Holds everything of ours, unless the URL names another schema."""
CONNECT_LIMIT_S = 10.0

_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TAKEN = {
    "host", "port", "dbname", "user", "passfile", "sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword",
    "ssl_min_protocol_version", "ssl_max_protocol_version", "sslnegotiation", "target_session_attrs", "krbsrvname", "gsslib",
    "application_name", "options",
}  # fmt: skip
"""Parameters that asyncpg or the server understands."""
_IGNORED = {
    "client_encoding", "fallback_application_name", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
    "tcp_user_timeout",
}  # fmt: skip
"""Parameters of libpq that change nothing here."""


@attrs.frozen(kw_only=True)
class Address:
    """Where to connect."""

    dsn: str = attrs.field(repr=False)
    """For asyncpg; without the password."""
    password: str | None = attrs.field(repr=False)
    """``None``: asyncpg looks for it in ``PGPASSWORD`` and the password file."""
    schema: str
    shown: str
    """For messages; without the password."""
    connect_limit_s: float

    @classmethod
    def parse(cls, url: str, environ: Mapping[str, str]) -> Address:
        """Read a URL. Raises ``SettingError``."""
        shown = without_password(url)
        given = _parameters(url, shown)
        service = given.pop("service", None) or environ.get("PGSERVICE")
        if service is not None:
            given = {**_service(service, environ), **given}
        schema = given.pop("schema", SCHEMA)
        if not _SCHEMA_NAME.fullmatch(schema) or schema.startswith("pg_"):
            raise SettingError("store", f"the schema {shortened(schema)} is not a name of lower-case letters, digits and _")
        password = given.pop("password", None)
        limit = _seconds(given.pop("connect_timeout", None) or environ.get("PGCONNECT_TIMEOUT"))
        given.setdefault("application_name", environ.get("PGAPPNAME") or "orchestrator")
        for name in given.keys() - _TAKEN - _IGNORED:
            raise SettingError("store", f"{shown}: the parameter {shortened(name)} is not supported")
        dsn = f"postgresql://?{urlencode({name: value for name, value in given.items() if name in _TAKEN})}"
        return cls(dsn=dsn, password=password, schema=schema, shown=shown, connect_limit_s=limit)


def _parameters(url: str, shown: str) -> dict[str, str]:
    try:
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise SettingError("store", f"{shown} is not a URL of PostgreSQL") from error
    login, at, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":") if at else ("", "", "")
    found = {"user": unquote(user), "password": unquote(password), "host": unquote(hosts), "dbname": unquote(parts.path[1:])}
    return {**{name: value for name, value in found.items() if value}, **given}


def _service(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a service, from the user's file or else that of the system."""
    own = environ.get("PGSERVICEFILE") or str(Path(environ.get("HOME", "~")).expanduser() / ".pg_service.conf")
    files = [own, *([str(Path(environ["PGSYSCONFDIR"]) / "pg_service.conf")] if environ.get("PGSYSCONFDIR") else [])]
    for file in files:
        # No interpolation: a password may hold a percent sign.
        services = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",), strict=False)
        try:
            services.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError) as error:
            raise SettingError("store", f"the service file {file} cannot be read: {str(error).splitlines()[0]}") from error
        if services.has_section(name):
            return dict(services.items(name))
    raise SettingError("store", f"the service {shortened(name)} is not in {' or '.join(files)}")


def _seconds(text: str | None) -> float:
    try:
        # Zero, or a negative number, means no limit for libpq; nobody wants to wait for ever.
        return float(text) if text and float(text) > 0 else CONNECT_LIMIT_S
    except ValueError as error:
        raise SettingError("store", f"connect_timeout {shortened(text)} is not a number of seconds") from error
