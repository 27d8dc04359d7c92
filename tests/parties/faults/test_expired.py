"""Certificates that end while real processes run: who is refused, what is said of it, and how it goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from secure.parties.client.client import Client
from secure.parties.config import CALLERS, PARTIES
from secure.parties.launcher import Launcher, free_addresses
from secure.parties.process.exit_codes import ExitCode, exit_code
from secure.parties.settings_file import settings_toml
from secure.parties.transport import tls
from secure.parties.transport.certificates.files import key_pem, new_key, write_new
from secure.parties.transport.certificates.making import AUTHORITY, authority_certificate, pem, role_certificate
from secure.parties.transport.certificates.names import general_names
from secure.protocols.core.errors import ConfigurationError, HandshakeError
from tests.checkout import ROOT
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import eventually

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.timeout(900)]

MANIFEST = FakeManifest()
SHORT_SECONDS = 60.0
"""How long certificates are valid that end under a test: longer than parties take to start and to load, on a busy
machine too."""


class Certificates:
    """An authority and its certificates, in a folder that all roles share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = new_key()
        self._authority = authority_certificate(self._key, AUTHORITY, 30)
        write_new(folder, {f"{AUTHORITY}.crt": pem(self._authority)})

    def make(self, role: str, days: float = 30.0) -> None:
        """A new certificate of a role, in place of the one that it has."""
        key = new_key()
        made = role_certificate(
            role,
            key.public_key(),
            general_names(role, None, []),
            self._authority,
            self._key,
            days,
        )
        for kind in ("crt", "key"):
            (self.folder / f"{role}.{kind}").unlink(missing_ok=True)
        write_new(self.folder, {f"{role}.crt": pem(made), f"{role}.key": key_pem(key)})

    def wait_for_the_end(self, role: str) -> None:
        certificate = x509.load_pem_x509_certificate((self.folder / f"{role}.crt").read_bytes())
        while tls.now() <= certificate.not_valid_after_utc:
            time.sleep(0.2)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    made = Certificates(tmp_path / "certificates")
    for role in (*PARTIES, *CALLERS):
        made.make(role)
    return made


@pytest.fixture
def config(tmp_path: Path, certificates: Certificates) -> Path:
    path = tmp_path / "parties.toml"
    text = settings_toml(free_addresses(), certificates.folder)
    path.write_text(f"{text}\n[limits]\nrendezvous_seconds = 60.0\n", encoding="utf-8")
    return path


@pytest.fixture
def launcher(config: Path) -> Iterator[Launcher]:
    with Launcher(config, module="tests.parties.fake_process", stop_when_one_ends=False) as launcher:
        yield launcher


def predict(client: Client) -> tuple[bytes, ...]:
    return client.predict(MANIFEST.digest, MANIFEST.policy.digest(), FakeRequest(), (b"ab", b"cd")).payloads


def test_who_has_a_certificate_that_ended_is_named_and_goes_on_with_a_new_one(
    certificates: Certificates, launcher: Launcher, shares: dict[str, Path]
) -> None:
    """The client's, then p1's. Neither party nor client is restarted, and none is in a session that hangs."""
    for role in ("p1", "client"):
        certificates.make(role, SHORT_SECONDS / 86400)
    launcher.start()
    with Client(launcher.settings) as client:
        client.load_model(MANIFEST, shares)
        assert predict(client) == (b"ba", b"dc")
        for role in ("p1", "client"):
            certificates.wait_for_the_end(role)
        # Its connections are open still.
        with pytest.raises(HandshakeError, match=r"client's, of today.*one that has ended") as refused:
            predict(client)
        assert exit_code(refused.value) == ExitCode.HANDSHAKE
        with pytest.raises(ConfigurationError, match=r"client\.crt ended on"):
            Client(launcher.settings)
        # With a new one it connects anew, and sees p1's.
        certificates.make("client")
        with pytest.raises(HandshakeError, match=r"p1's, from our authority.*one that has ended") as ended:
            predict(client)
        assert exit_code(ended.value) == ExitCode.HANDSHAKE
        certificates.make("p1")
        # For a second gRPC repeats what it heard when it last connected.
        eventually(lambda: client.health()["p1"] == "serving")
        assert predict(client) == (b"ba", b"dc")


def test_a_party_does_not_begin_with_a_certificate_that_has_ended(certificates: Certificates, config: Path) -> None:
    certificates.make("p1", 0)
    command = [sys.executable, "-P", "-m", "tests.parties.fake_process", "p1", "--config", str(config)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == ExitCode.CONFIGURATION
    assert "p1.crt ended on" in done.stderr and "Traceback" not in done.stderr
