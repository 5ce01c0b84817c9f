"""The 15 requests of benchmarks.http for Locust, as the script sends them; the token is verified."""

from __future__ import annotations

import os
import time
import uuid
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gevent
import jwt
from locust import FastHttpUser, events, task
from locust.exception import StopUser

INSTANCES = int(os.environ["CHAIN_INSTANCES"])
ENVIRONMENT = os.environ["PINGONE_ENVIRONMENT_ID"]
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
numbers = count()
done = count(1)


@events.quitting.add_listener
def _succeed(environment: Any, **_: Any) -> None:
    environment.process_exit_code = 0 if not environment.stats.total.num_failures else 1


class Chain(FastHttpUser):
    """A user that repeats the chain until all instances are done."""

    def on_start(self) -> None:
        jwk = self.client.get(f"/{ENVIRONMENT}/as/jwks").json()["keys"][0]
        self.key = jwt.PyJWK(jwk, algorithm="RS256").key
        answer = self.client.post(f"/{ENVIRONMENT}/as/token", data={"grant_type": "client_credentials"}, auth=("w", "w"))
        self.worker = answer.json()["access_token"]

    @task
    def chain(self) -> None:
        number = next(numbers)
        if number >= INSTANCES:
            raise StopUser
        try:
            self.one(number)
        finally:
            if next(done) == INSTANCES:
                gevent.spawn(self.environment.runner.quit)

    def one(self, number: int) -> None:
        client, base = self.client, self.host
        api, auth, name = f"/v1/environments/{ENVIRONMENT}", f"/{ENVIRONMENT}", f"locust-{number}"
        bearer = {"Authorization": f"Bearer {self.worker}"}

        def post(url: str, body: Any, label: str) -> Any:
            answer = client.post(url, json=body, headers=bearer, name=label)
            assert answer.status_code == 201, answer
            return answer.json()

        app = post(
            f"{api}/applications",
            {
                "enabled": True,
                "name": name,
                "description": "script",
                "type": "WEB_APP",
                "protocol": "OPENID_CONNECT",
                "grantTypes": ["AUTHORIZATION_CODE"],
                "responseTypes": ["CODE"],
                "redirectUris": ["https://www.example.com"],
                "tokenEndpointAuthMethod": "CLIENT_SECRET_JWT",
                "pkceEnforcement": "OPTIONAL",
            },
            "create_application",
        )
        secret = client.get(f"{api}/applications/{app['id']}/secret", headers=bearer, name="read_application_secret").json()[
            "secret"
        ]
        audience = f"https://tf-{name}.example.com"
        body = {"name": f"{name}-r", "description": "script", "audience": audience, "accessTokenValiditySeconds": 3600}
        resource = post(f"{api}/resources", body, "create_resource")
        scope_name = f"tf:{name}:read"
        body = {"name": scope_name, "description": "custom scope"}
        scope = post(f"{api}/resources/{resource['id']}/scopes", body, "create_scope")
        body = {"name": "clientAssertion_custom", "value": "${#root.context.requestData.clientAssertion.custom1}"}
        post(f"{api}/resources/{resource['id']}/attributes", body, "map_attribute")
        body = {"resource": {"id": resource["id"]}, "scopes": [{"id": scope["id"]}]}
        post(f"{api}/applications/{app['id']}/grants", body, "grant_access")
        population = post(f"{api}/populations", {"name": f"{name}-p", "description": "script"}, "create_population")
        body = {"email": f"{name}@example.com", "name": {"given": "Token", "family": "User"}, "username": name}
        user = post(f"{api}/users", body | {"population": {"id": population["id"]}}, "create_user")
        headers = bearer | {"Content-Type": "application/vnd.pingidentity.password.set+json"}
        body = {"value": "2Federate!Now", "forceChange": False}
        client.put(f"{api}/users/{user['id']}/password", json=body, headers=headers, name="set_password").json()
        query = f"response_type=code&client_id={app['id']}&redirect_uri=https%3A%2F%2Fwww.example.com&scope={scope_name}"
        answer = client.get(f"{auth}/as/authorize?{query}", allow_redirects=False, name="authorize")
        flow = parse_qs(urlsplit(answer.headers["Location"]).query)["flowId"][0]
        client.get(f"{auth}/flows/{flow}", name="start_flow").json()
        headers = {"Content-Type": "application/vnd.pingidentity.usernamePassword.check+json"}
        body = {"username": name, "password": "2Federate!Now"}
        answer = client.post(f"{auth}/flows/{flow}", json=body, headers=headers, name="submit_credentials")
        assert answer.json()["status"] == "COMPLETED"
        answer = client.get(f"{auth}/as/resume?flowId={flow}", allow_redirects=False, name="resume_flow")
        code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
        issuer = f"{base}{auth}/as"

        def assertion() -> dict[str, str]:
            now = int(time.time())
            claims = {"iss": app["id"], "sub": app["id"], "aud": issuer, "iat": now, "exp": now + 300}
            claims |= {"jti": str(uuid.uuid4()), "custom1": f"value-{name}"}
            return {"client_assertion": jwt.encode(claims, secret, algorithm="HS256"), "client_assertion_type": ASSERTION_TYPE}

        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "https://www.example.com", "scope": scope_name}
        token = client.post(f"{auth}/as/token", data=form | assertion(), name="exchange_token").json()["access_token"]
        answer = client.post(f"{auth}/as/introspect", data={"token": token} | assertion(), name="introspect_token")
        assert answer.json()["active"]
        claims = jwt.decode(token, self.key, algorithms=["RS256"], issuer=issuer, audience=audience)
        assert claims["clientAssertion_custom"] == f"value-{name}"
