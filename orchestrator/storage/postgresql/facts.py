"""The condition of the server, for ``doctor``."""

from __future__ import annotations

from orchestrator.storage.postgresql.schema import MIGRATIONS
from orchestrator.storage.postgresql.session import Link
from orchestrator.storage.records import StoreFacts

_SETTINGS = ("server_version", "synchronous_commit", "fsync", "full_page_writes")


async def facts(link: Link) -> StoreFacts:
    """Version, encryption of the connection, and whether a commit survives a power failure."""
    sql = "SELECT name, setting, reset_val FROM pg_settings WHERE name = ANY ($1)"
    found = {row["name"]: (row["setting"], row["reset_val"]) for row in await link.db.fetch(sql, _SETTINGS)}
    tls = await link.db.fetchval("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl")
    commit, default = found["synchronous_commit"]
    changed = "" if commit == default else f" (set by this program; the default of the server is {default})"
    text = (
        f"PostgreSQL {found['server_version'][0]}, {tls or 'no TLS'}, synchronous_commit={commit}{changed}, "
        f"schema version {len(MIGRATIONS)}"
    )
    unsafe = [name for name in ("fsync", "full_page_writes") if found[name][0] == "off"]
    if unsafe:
        return StoreFacts(text, f"{' and '.join(unsafe)} off on the server: a power failure there can damage the store")
    return StoreFacts(text)
