"""Access to the page: the token, the cookie, Host and Origin, and the headers of every answer."""

from __future__ import annotations

from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from orchestrator import ConfigurationError, Secret, SettingError, Vault, open_store, start
from orchestrator.web.settings import WebSettings
from tests.support.page import page_of
from tests.support.toy import Ledger, fast, toy

TOKEN = Secret("a-token-that-is-long-enough")


async def test_without_the_token_a_stranger_sees_no_run(vault: Vault) -> None:
    workflow = toy(Ledger())
    async with open_store("memory:") as store, start(workflow, store=store, options=fast(vault)) as run:
        await run.wait()
        async with page_of(store, vault, workflow, enters=False) as page:
            for path in ("/", f"/runs/{run.id}", f"/runs/{run.id}/events", f"/runs/{run.id}/report.json", "/metrics", "/nowhere"):
                answer = await page.get(path)
                assert answer.status == 401, path
                assert run.id not in answer.text
                assert "the link that the program printed" in answer.text


async def test_the_link_sets_a_strict_cookie_and_takes_the_token_out_of_the_address(vault: Vault) -> None:
    async with open_store("memory:") as store, page_of(store, vault, enters=False) as page:
        link = page.served.link.reveal()
        async with page.session.get(link.replace("/?", "/compare?run=one&"), allow_redirects=False) as answer:
            assert answer.status == 303
            assert answer.headers["Location"] == "/compare?run=one"
            (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        assert cookie["path"] == "/"
        assert cookie.value not in link
        assert link.rpartition("=")[2] not in cookie.value
        assert (await page.get("/")).status == 200


@pytest.mark.parametrize("path", ["//evil.example/", "///evil.example", "/%2F/evil.example"])
async def test_the_link_never_leads_to_another_server(vault: Vault, path: str) -> None:
    settings = WebSettings(port=0, token=TOKEN)
    async with open_store("memory:") as store, page_of(store, vault, settings=settings, enters=False) as page:
        async with page.session.get(page.url(f"{path}?token={TOKEN.reveal()}"), allow_redirects=False) as answer:
            location = answer.headers.get("Location", "/")
        assert location.startswith("/")
        assert not location.startswith(("//", "/\\"))


async def test_a_wrong_token_or_cookie_opens_nothing(vault: Vault) -> None:
    async with open_store("memory:") as store, page_of(store, vault, enters=False) as page:
        assert (await page.get("/?token=wrong")).status == 401
        assert (await page.get("/?token=")).status == 401
        port = page.url("/").port
        for value in ("", "x", "ü", TOKEN.reveal()):
            assert (await page.get("/", headers={"Cookie": f"orchestrator-{port}={value}"})).status == 401
            assert (await page.get("/", headers={"Authorization": f"Bearer {value}"})).status == 401


async def test_a_program_sends_the_token_as_a_bearer(vault: Vault) -> None:
    settings = WebSettings(port=0, token=TOKEN)
    async with open_store("memory:") as store, page_of(store, vault, settings=settings, enters=False) as page:
        assert (await page.get("/", headers={"Authorization": f"Bearer {TOKEN.reveal()}"})).status == 200


async def test_a_foreign_name_for_this_machine_is_refused_even_with_the_cookie(vault: Vault) -> None:
    async with open_store("memory:") as store, page_of(store, vault) as page:
        port = page.url("/").port
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}", f"127.0.0.1:{port}1"):
            answer = await page.get("/", headers={"Host": host})
            assert answer.status == 421, host
        assert (await page.get("/", headers={"Host": f"LOCALHOST:{port}"})).status in (200, 401)


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:1"])
async def test_a_form_of_another_site_changes_nothing(vault: Vault, origin: str | None) -> None:
    async with open_store("memory:") as store, page_of(store, vault) as page:
        headers = {} if origin is None else {"Origin": origin}
        answer = await page.post("/start", {"action": "start"}, headers=headers)
        assert answer.status == 403
        assert "must come from a page of this server" in answer.text


async def test_a_page_that_is_read_only_refuses_every_change(vault: Vault) -> None:
    workflow = toy(Ledger())
    async with open_store("memory:") as store, start(workflow, store=store, options=fast(vault)) as run:
        await run.wait()
        async with page_of(store, vault, workflow, settings=WebSettings(port=0, read_only=True)) as page:
            answer = await page.post(f"/runs/{run.id}", {"action": "cleanup"})
            assert answer.status == 403
            assert "--read-only" in answer.text
            shown = (await page.get(f"/runs/{run.id}")).text
            assert "<button" not in shown
            assert "--read-only" in shown


async def test_every_answer_forbids_scripts_of_others(vault: Vault) -> None:
    workflow = toy(Ledger())

    def extend(app: web.Application) -> None:
        async def broken(request: web.Request) -> web.Response:
            raise web.HTTPForbidden

        app.router.add_get("/broken", broken)

    async with open_store("memory:") as store, start(workflow, store=store, options=fast(vault)) as run:
        await run.wait()
        async with page_of(store, vault, workflow, extensions=(extend,)) as page:
            for path in ("/", f"/runs/{run.id}", "/static/page.js", "/assets/uplot.js", "/nowhere", "/broken", "/?token=x"):
                headers = (await page.get(path)).headers
                policy = headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy, path
                assert "unsafe" not in policy
                assert headers["X-Content-Type-Options"] == "nosniff"
                assert headers["X-Frame-Options"] == "DENY"
                assert headers["Cache-Control"] in ("no-store", "no-cache")
            async with page.session.get(page.url(f"/runs/{run.id}/events")) as stream:
                assert "default-src 'none'" in stream.headers["Content-Security-Policy"]


async def test_no_page_holds_a_script_a_style_or_an_address_of_another_server(vault: Vault) -> None:
    workflow = toy(Ledger())
    async with open_store("memory:") as store, start(workflow, store=store, instances=3, options=fast(vault)) as run:
        await run.wait()
        async with page_of(store, vault, workflow) as page:
            for path in ("/", f"/runs/{run.id}", f"/runs/{run.id}/instances", f"/runs/{run.id}/instances/0", "/compare"):
                text = (await page.get(path)).text
                assert "style=" not in text, path
                assert "<style" not in text
                assert " on" not in "".join(part for part in text.split("<") if part.startswith("a "))
                scripts = [part for part in text.split("<script")[1:] if 'type="application/json"' not in part]
                assert all(part.partition(">")[2].startswith("</script>") for part in scripts)
                assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
                assert "https://" not in text


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"address": "0.0.0.0"}, "add --allow-remote"),
        ({"address": "192.0.2.1", "allow_remote": True}, "needs TLS"),
        ({"address": "example.com", "proxy": "https://example.com"}, "add --allow-remote"),
        ({"proxy": "http://example.com"}, "is not of the form"),
        ({"proxy": "https://user@example.com"}, "is not of the form"),
        ({"proxy": "https://example.com/path"}, "is not of the form"),
        ({"proxy": "https://"}, "is not of the form"),
        ({"certificate": "one.pem"}, "are given together"),
        ({"token": Secret("short")}, "shorter than 20"),
        ({"port": 70000}, "is not between"),
    ],
)
def test_an_unsafe_place_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        WebSettings(**given)


async def test_with_tls_the_cookie_is_secure_and_the_link_is_encrypted(vault: Vault, certificate: Path) -> None:
    settings = WebSettings(port=0, certificate=str(certificate), private_key=str(certificate))
    async with open_store("memory:") as store, page_of(store, vault, settings=settings, enters=False) as page:
        link = page.served.link.reveal()
        assert link.startswith("https://127.0.0.1:")
        async with page.session.get(link, allow_redirects=False, ssl=False) as answer:
            (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
    assert cookie["secure"]
    assert cookie.key.startswith("__Host-")


async def test_behind_a_proxy_only_its_name_is_served(vault: Vault) -> None:
    settings = WebSettings(port=0, proxy="https://runs.example.com", token=TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN.reveal()}"}
    async with open_store("memory:") as store, page_of(store, vault, settings=settings, enters=False) as page:
        assert page.served.origin == "https://runs.example.com"
        assert TOKEN.reveal() in page.served.link.reveal()
        async with aiohttp.ClientSession() as session:
            # The server itself listens on loopback; its port is that of the socket.
            address = f"http://127.0.0.1:{_port(page)}/"
            async with session.get(address, headers={**bearer, "Host": "runs.example.com"}) as answer:
                assert answer.status == 200
            async with session.get(address, headers=bearer) as answer:
                assert answer.status == 421


def _port(page: Any) -> int:
    return int(page.served.port)


async def test_a_port_in_use_is_named(vault: Vault) -> None:
    async with open_store("memory:") as store, page_of(store, vault) as page:
        port = page.url("/").port
        with pytest.raises(ConfigurationError, match=f"port {port}"):
            async with page_of(store, vault, settings=WebSettings(port=port)):
                pass
