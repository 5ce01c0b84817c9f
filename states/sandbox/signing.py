"""The key that signs the tokens of the environment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm


class SigningKey:
    """The RS256 key of the environment."""

    def __init__(self, private_key: rsa.RSAPrivateKey | None = None) -> None:
        self.private = private_key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public = self.private.public_key()
        self.jwk: dict[str, Any] = RSAAlgorithm.to_jwk(self.public, as_dict=True)
        material = f"{self.jwk['e']}{self.jwk['n']}".encode()
        self.kid = hashlib.sha256(material).hexdigest()[:16]
        self.jwk |= {"kid": self.kid, "use": "sig", "alg": "RS256"}
        self.jwk.pop("key_ops", None)

    def sign(self, claims: Mapping[str, Any], typ: str) -> str:
        """A signed JWT."""
        return jwt.encode(dict(claims), self.private, algorithm="RS256", headers={"kid": self.kid, "typ": typ})
