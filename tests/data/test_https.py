"""Fetching over TLS: the certificate is checked for the name that was asked for, though the connection goes to the address that was judged."""

import datetime
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from components.data.web.client import Budget, Client, Failed, Manners, Validators
from tests.data.web_server import Site, serving
from tests.data.workbench import png

MANNERS = Manners(allow_private=True, connect_timeout_s=2, read_timeout_s=2, deadline_s=5, retries=0)


@dataclass
class Secured:
    site: Site
    authority: Path
    """The certificate that its own was signed by."""
    asked_for: list[str | None] = field(default_factory=list)
    """The names that clients said when they greeted it."""

    def url(self, host: str) -> str:
        return f"https://{host}:{self.site.url.rsplit(':', 1)[1]}/a.png"


def certificate(name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signed_by: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
    called, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer))
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(by, called, key.public_key(), x509.random_serial_number(), now - datetime.timedelta(1), now + datetime.timedelta(1))
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key()), critical=False)
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False)
    usage |= {"digital_signature": not authority, "key_cert_sign": authority, "crl_sign": authority}
    builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    return builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False).sign(signed_by, hashes.SHA256())


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    """A site with a certificate for pets.example."""
    root, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = certificate("An authority", root, "An authority", root, authority=True)
    (tmp_path / "authority.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8
    (tmp_path / "site.pem").write_bytes(
        own.private_bytes(serialization.Encoding.PEM, plain, serialization.NoEncryption())
        + certificate("pets.example", own, "An authority", root, authority=False).public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "site.pem")
    with serving(context) as site:
        site.files["/a.png"] = png(1)
        found = Secured(site, tmp_path / "authority.pem")
        context.sni_callback = lambda connection, name, used: found.asked_for.append(name)
        yield found


def everything_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every name stand for this machine."""
    known = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda name, *rest, **named: known("127.0.0.1", *rest, **named))


def fetched(url: str, to: Path) -> bytes:
    client = Client(MANNERS)
    try:
        client.fetch(url, to, Validators(), Validators(), lambda version: None, Budget(10**9))
    finally:
        client.close()
    return to.read_bytes()


def test_a_file_comes_from_the_judged_address_under_the_name_that_was_asked_for(secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything_is_here(monkeypatch)
    monkeypatch.setenv("SSL_CERT_FILE", str(secured.authority))
    connected: list[Any] = []
    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda address, **how: connected.append(address[0]) or connect(address, **how))
    assert fetched(secured.url("pets.example"), tmp_path / "a.part") == png(1)
    assert secured.asked_for == ["pets.example"]
    assert connected == ["127.0.0.1"]
    assert secured.site.asked[0][2]["Host"].startswith("pets.example:")


def test_a_certificate_for_another_name_is_refused_and_nothing_is_asked(secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything_is_here(monkeypatch)
    monkeypatch.setenv("SSL_CERT_FILE", str(secured.authority))
    with pytest.raises(Failed, match=r"certificate is not valid for 'other\.example'"):
        fetched(secured.url("other.example"), tmp_path / "a.part")
    assert secured.site.asked == []


def test_a_certificate_that_nobody_known_has_signed_is_refused_and_nothing_is_asked(secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything_is_here(monkeypatch)
    with pytest.raises(Failed, match="certificate"):
        fetched(secured.url("pets.example"), tmp_path / "a.part")
    assert secured.site.asked == []
