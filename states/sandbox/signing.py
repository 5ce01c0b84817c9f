"""The key that signs the tokens of the environment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from states.sandbox.json_types import JSONObject

_BITS = 2048


class SigningKey:
    """The RS256 key of the environment. A new one is made in a thread, and waited for when it is used first: that takes 20 to 100 ms
    of CPU, in which the program goes on."""

    def __init__(self, private_key: rsa.RSAPrivateKey | None = None) -> None:
        self._made: Future[rsa.RSAPrivateKey] = Future()
        if private_key is not None:
            self._made.set_result(private_key)
        else:
            thread = ThreadPoolExecutor(1, thread_name_prefix="signing key")
            self._made = thread.submit(rsa.generate_private_key, 65537, _BITS)
            thread.shutdown(wait=False)

    @property
    def private(self) -> rsa.RSAPrivateKey:
        """The private key."""
        return self._made.result()

    @cached_property
    def public(self) -> rsa.RSAPublicKey:
        """The public key."""
        return self.private.public_key()

    @cached_property
    def jwk(self) -> JSONObject:
        """The public key as a JSON Web Key."""
        jwk: JSONObject = RSAAlgorithm.to_jwk(self.public, as_dict=True)
        jwk.pop("key_ops", None)
        material = f"{jwk['e']}{jwk['n']}".encode()
        return jwk | {"kid": hashlib.sha256(material).hexdigest()[:16], "use": "sig", "alg": "RS256"}

    @property
    def kid(self) -> str:
        """Its id."""
        return str(self.jwk["kid"])

    def sign(self, claims: Mapping[str, object], typ: str) -> str:
        """A signed JWT."""
        return jwt.encode(dict(claims), self.private, algorithm="RS256", headers={"kid": self.kid, "typ": typ})
