"""The management API: create, read, find by name, delete.

Source: PingOne Platform API, "Platform"; paging: "Paging, ordering, and filtering collections".
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

import attrs

from orchestrator import AmbiguousError, PermanentError, Secret, TransientError
from states.http.bodies import JSON, json_body
from states.http.json_types import JSONObject
from states.http.reply import Reply
from states.pingone.answers import AccessError, AlreadyExistsError, ConstraintError, MissingError, RefusedError, is_id
from states.pingone.settings import PingOneSettings
from states.pingone.worker_token import WorkerToken

if TYPE_CHECKING:
    from states.http.session import Session

Found = JSONObject

_ROLES = "does the worker have its roles in this environment? (A new role becomes effective after a moment)"
CREATED = (200, 201, 202)
"""Statuses of success. Ping says that the code within a class may change."""


@attrs.frozen
class Listing:
    """Where an object is listed, and how to recognize it.

    Args:
        scim: A SCIM filter, for endpoints that support one. If the server refuses it, the list is read without it.
    """

    path: str
    collection: str
    matches: Callable[[Found], bool]
    scim: str | None = None


class Management:
    """Calls below ``/environments/{the managed environment}``. Paths are relative to it."""

    def __init__(self, session: Session, settings: PingOneSettings, token: WorkerToken) -> None:
        self._session = session
        self._token = token
        self._root = f"{settings.api_url}/environments/{settings.managed}"
        self._origin = urlsplit(self._root)

    async def create(self, what: str, path: str, body: Mapping[str, object]) -> Found:
        """POST.

        Raises:
            AlreadyExistsError: The name is taken.
        """
        reply = await self._send(f"create {what}", "POST", self._at(path), ok=CREATED, body=json_body(body))
        return _with_id(reply.json(), what)

    async def read(self, what: str, path: str) -> Found:
        """GET. Raises ``MissingError``."""
        return (await self._send(f"read {what}", "GET", self._at(path))).json()

    async def put(self, what: str, path: str, body: Mapping[str, object], media_type: str, secrets: Iterable[Secret]) -> Found:
        """PUT. Raises ``MissingError``."""
        reply = await self._send(what, "PUT", self._at(path), body=json_body(body), media_type=media_type, secrets=secrets)
        return reply.json()

    async def delete(
        self,
        what: str,
        path: str,
        *,
        passing: tuple[type[RefusedError], ...] = (ConstraintError, AlreadyExistsError, AccessError),
    ) -> None:
        """DELETE. An object that is not there counts as deleted.

        Args:
            passing: Temporary refusals: a dependent object is still being deleted, or a new permission is not effective yet.

        Raises:
            TransientError: A temporary refusal. The retry policy limits the attempts.
        """
        try:
            await self._send(f"delete {what}", "DELETE", self._at(path), ok=(200, 202, 204))
        except MissingError:
            pass
        except passing as error:
            raise TransientError(error.message, code=error.code) from error

    async def find(self, listing: Listing, *, but: Container[str] = ()) -> Found | None:
        """The first match of a collection, over all its pages; ``None`` if there is none.

        Args:
            but: Ids to ignore: a deleted object may still be listed.
        """
        try:
            return await self._find(listing, but)
        except PermanentError as error:
            if listing.scim is None or error.code != "INVALID_FILTER":
                raise
            return await self._find(attrs.evolve(listing, scim=None), but)

    async def count(self, path: str, collection: str) -> int:
        """The number of objects in a collection. It counts the rows, because the endpoints report counts in different ways."""
        counted = 0

        def counts(row: Found) -> bool:
            nonlocal counted
            counted += 1
            return False

        await self._find(Listing(path, collection, counts), ())
        return counted

    async def _find(self, listing: Listing, but: Container[str]) -> Found | None:
        url: str | None = self._at(listing.path) + (f"?filter={quote(listing.scim)}" if listing.scim else "")
        seen = set()
        while url is not None and url not in seen:
            seen.add(url)
            page = (await self._send(f"list {listing.collection}", "GET", url)).json()
            rows, following = _page(page, listing.collection)
            for row in rows:
                if listing.matches(row) and row.get("id") not in but:
                    return _with_id(row, listing.collection)
            url = self._own(following) if following else None
        return None

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    async def _send(
        self,
        what: str,
        method: str,
        url: str,
        *,
        ok: tuple[int, ...] = (200,),
        body: bytes | None = None,
        media_type: str = JSON,
        secrets: Iterable[Secret] = (),
    ) -> Reply:
        """With the worker's token."""

        async def send(token: Secret) -> Reply:
            return await self._session.send(
                what,
                method,
                url,
                ok=ok,
                headers={"Authorization": f"Bearer {token.reveal()}"},
                body=body,
                media_type=media_type,
                secrets=[token, *secrets],
            )

        try:
            return await self._token.authorize(send)
        except AccessError as error:
            raise AccessError(f"{error.message}; {_ROLES}", code=error.code) from error

    def _own(self, url: str) -> str:
        """A link of a page. It is followed only to the host that the token is for. (We use our own scheme and port: the
        vendor's examples have links with another scheme.)"""
        try:
            link = urlsplit(url)
        except ValueError as error:
            raise AmbiguousError(f"the link to the next page is not an address: {error}", code="not_a_list") from error
        if link.hostname not in {None, self._origin.hostname}:
            raise PermanentError(f"the next page is at {link.netloc}, but the token is not for that host", code="foreign_link")
        return urlunsplit((*self._origin[:2], link.path, link.query, ""))


def _page(page: Found, collection: str) -> tuple[list[Found], str | None]:
    """The rows of a page, and the link to the next. A malformed page is an error: if it counted as empty, existing objects would
    be created again."""
    embedded, links = page.get("_embedded") or {}, page.get("_links") or {}
    if page.keys() & {"_embedded", "_links", "size", "count"} and isinstance(embedded, dict) and isinstance(links, dict):
        rows, following = embedded.get(collection) or [], links.get("next") or {}
        if isinstance(rows, list) and isinstance(following, dict) and all(isinstance(row, dict) for row in rows):
            href = following.get("href")
            if href is None or isinstance(href, str):
                return rows, href
    raise AmbiguousError(f"list {collection}: the response is not a list", code="not_a_list")


def _with_id(row: Found, what: str) -> Found:
    if not is_id(row.get("id")):
        raise AmbiguousError(f"{what}: the response contains no id", code="no_id")
    return row
