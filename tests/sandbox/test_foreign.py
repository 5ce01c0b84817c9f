"""A foreign OpenID Connect client, Authlib's, accepts the sandbox's responses: discovery, code flow, client credentials."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import parse_authorization_code_response, prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7523 import ClientSecretJWT
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata

from tests.support.caller import CHECK, PASSWORD, REDIRECT, Caller, calling, furnish

METHODS = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
URLS = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "introspection_endpoint")


async def metadata_of(call: Caller) -> dict[str, Any]:
    return (await call("GET", "", at=call.auth("as/.well-known/openid-configuration"))).body


async def post(call: Caller, auth: ClientAuth, at: str, body: str) -> dict[str, Any]:
    """POST a form to which Authlib has added the client's authentication."""
    uri, headers, body = auth.prepare("POST", at, {"Content-Type": "application/x-www-form-urlencoded"}, body)
    answer = await call("POST", "", at=uri, data=body, headers={"Authorization": "", **headers})
    assert answer.status == 200, answer.body
    return answer.body


async def test_the_metadata_is_valid() -> None:
    """OpenID Connect Discovery 1.0, section 3. The metadata requires ``https``, which a sandbox on loopback does not serve."""
    async with calling() as call:
        metadata = await metadata_of(call)
    metadata |= {name: metadata[name].replace("http://", "https://") for name in URLS}
    OpenIDProviderMetadata(metadata).validate()


@pytest.mark.parametrize("mode", ["query", "fragment", "form_post"])
@pytest.mark.parametrize("method", METHODS)
async def test_a_client_signs_on_by_code(method: str, mode: str) -> None:
    async with calling() as call:
        tenant = await furnish(call, method.upper())
        metadata = await metadata_of(call)
        uri = prepare_grant_uri(
            metadata["authorization_endpoint"],
            tenant.app,
            "code",
            redirect_uri=REDIRECT,
            scope="openid profile email",
            state="state",
            nonce="nonce",
            response_mode=mode,
        )
        begun = await call("GET", "", at=uri)
        flow = parse_qs(urlsplit(begun.headers["Location"]).query)["flowId"][0]
        headers = {"Content-Type": CHECK, "Cookie": f"ST={begun.cookie}"}
        credentials = {"username": "token.user", "password": PASSWORD}
        done = await call("POST", "", at=call.auth(f"flows/{flow}"), json=credentials, headers=headers)
        headers = {"Cookie": f"ST={done.cookie}"}
        async with call.http.get(done.body["resumeUrl"], headers=headers, allow_redirects=False) as back:
            page, location = await back.text(), back.headers.get("Location", "")
        if mode == "form_post":
            fields = re.findall(r'name="([^"]*)" value="([^"]*)"', page)
            location = f"{REDIRECT}?{urlencode([(name, html.unescape(value)) for name, value in fields])}"
        parsed = parse_authorization_code_response(location.replace("#", "?"), state="state")

        auth = ClientAuth(tenant.app, tenant.secret, ClientSecretJWT() if method == "client_secret_jwt" else method)
        body = prepare_token_request("authorization_code", redirect_uri=REDIRECT, code=parsed["code"])
        tokens = await post(call, auth, metadata["token_endpoint"], body)
        keys = jwt.PyJWKSet.from_dict((await call("GET", "", at=metadata["jwks_uri"])).body)
        header = jwt.get_unverified_header(tokens["id_token"])
        claims = jwt.decode(tokens["id_token"], keys[header["kid"]], algorithms=["RS256"], audience=tenant.app)
        options = {"iss": {"essential": True, "value": metadata["issuer"]}, "nonce": {"value": "nonce"}}
        identity = CodeIDToken(claims, header, options, {"client_id": tenant.app, "nonce": "nonce"})
        identity.validate()
        shown = await post(call, auth, metadata["introspection_endpoint"], f"token={tokens['access_token']}")
        assert (shown["active"], shown["client_id"]) == (True, tenant.app)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_the_worker_gets_a_token_by_client_credentials(method: str) -> None:
    async with calling(worker_auth_method=method.upper()) as call:
        environment = call.emulator.environment
        auth = ClientAuth(environment.worker_id, environment.worker_secret, method)
        token = await post(call, auth, (await metadata_of(call))["token_endpoint"], prepare_token_request("client_credentials"))
        assert token["token_type"] == "Bearer"
        answer = await call("GET", "users", headers={"Authorization": f"Bearer {token['access_token']}"})
        assert answer.status == 200
