"""The web page, served to a test over a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
from yarl import URL

from orchestrator import Store, Vault, Workflow
from orchestrator.web.app import Extension
from orchestrator.web.drives import Drives
from orchestrator.web.planning import Planner
from orchestrator.web.server import Served, serve
from orchestrator.web.settings import WebSettings
from orchestrator.web.site import Site


@attrs.define
class Answer:
    """An answer that was read to its end."""

    status: int
    text: str
    headers: Mapping[str, str]


@attrs.define
class Page:
    """A page and a browser that has opened its link."""

    served: Served
    site: Site
    session: aiohttp.ClientSession

    def url(self, path: str) -> URL:
        return URL(self.served.origin + path, encoded=True)

    async def get(self, path: str, **more: Any) -> Answer:
        async with self.session.get(self.url(path), **more) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def post(self, path: str, form: Mapping[str, Any], **more: Any) -> Answer:
        """Send a form of this page; redirects are not followed."""
        more.setdefault("headers", {"Origin": self.served.origin})
        async with self.session.post(self.url(path), data=form, allow_redirects=False, **more) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))


@asynccontextmanager
async def page_of(
    store: Store,
    vault: Vault,
    workflow: Workflow[Any, Any] | None = None,
    *,
    drives: Drives | None = None,
    planner: Planner | None = None,
    settings: WebSettings | None = None,
    extensions: tuple[Extension, ...] = (),
    enters: bool = True,
) -> AsyncIterator[Page]:
    """Serve the page of a store on a free port.

    Args:
        workflow: The only workflow that is known; ``None``: the installed ones.
        enters: Whether the browser opens the link first.
    """
    settings = settings or WebSettings(port=0)
    more = {} if workflow is None else {"find_workflow": lambda name: workflow}
    site = Site(store=store, vault=vault, drives=drives or Drives(), planner=planner, read_only=settings.read_only, **more)
    # The jar of a browser keeps the cookies of an address without a name, too.
    jar = aiohttp.CookieJar(unsafe=True)
    async with serve(site, settings, extensions) as served, aiohttp.ClientSession(cookie_jar=jar) as session:
        page = Page(served, site, session)
        if enters:
            async with session.get(served.link.reveal()) as answer:
                assert answer.status == 200, await answer.text()
        yield page
