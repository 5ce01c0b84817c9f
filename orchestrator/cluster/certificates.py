"""Certificates of a cluster: an authority made for it alone, and one certificate that all its machines use.

A holder of the key may run code on every machine of the cluster: Dask asks for a certificate of the authority, and
checks no names.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orchestrator.errors import SettingError

DAYS = 365


@attrs.frozen
class TlsFiles:
    """The files of a folder that :func:`make_certificates` has filled."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "cluster.pem"

    @property
    def key(self) -> Path:
        return self.folder / "cluster-key.pem"

    def check(self) -> TlsFiles:
        """These files, if they can be read. Raises ``SettingError``."""
        for path in (self.authority, self.certificate, self.key):
            try:
                path.open("rb").close()
            except OSError as error:
                raise SettingError(
                    "cluster-tls", f"{path} cannot be read: {error.strerror}; make it with `orchestrator cluster certs`"
                ) from error
        return self

    @property
    def flags(self) -> list[str]:
        """As flags of Dask's commands."""
        return ["--tls-ca-file", str(self.authority), "--tls-cert", str(self.certificate), "--tls-key", str(self.key)]


def make_certificates(folder: Path, days: int = DAYS) -> TlsFiles:
    """Make an authority and a certificate. The authority's key is not kept: for another certificate, make all of them again.

    Raises:
        SettingError: The folder cannot be written, or holds certificates already.
    """
    files, now = TlsFiles(folder), datetime.now(UTC)
    until = now + timedelta(days=days)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("orchestrator cluster authority")
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        _builder(_name("orchestrator cluster"), authority_name, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(files.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        _write(files.certificate, certificate.public_bytes(Encoding.PEM))
        _write(files.authority, authority.public_bytes(Encoding.PEM))
    except FileExistsError as error:
        raise SettingError("folder", f"{folder} holds certificates already; name another folder, or delete them") from error
    except OSError as error:
        raise SettingError("folder", f"{folder} cannot be written: {error.strerror}") from error
    return files


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks of other machines may be late
        .not_valid_after(until)
    )


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
