from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from secure.parties.config import ROLES, PartiesSettings
from secure.parties.process.server import PartyServer
from secure.parties.session.client_watch import ClientWatch
from secure.parties.session.handshake import PROTOCOL_VERSION
from secure.parties.transport.certificates.making import make_certificates
from secure.parties.transport.certificates.own import LiveCertificates, check_certificates
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.identity import Identity
from secure.parties.transport.link import Link
from secure.parties.transport.ports import SERVER_OPTIONS
from secure.parties.transport.tls import certificate_identity, certificate_role
from secure.parties.transport.wire_pb2 import Hello, Kind
from secure.protocols.core.errors import ConfigurationError, HandshakeError, PortInUse
from tests.parties.fakes import FakeEngine
from tests.parties.local import LocalParties


def test_files_and_their_modes(certificates: Path) -> None:
    expected = {"authority.crt", *(f"{role}.{kind}" for role in ROLES for kind in ("crt", "key"))}
    assert {path.name for path in certificates.iterdir()} == expected
    assert certificates.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in certificates.glob("*.key")} == {0o600}
    assert check_certificates(certificates) == []


def test_existing_certificates_are_not_overwritten(certificates: Path) -> None:
    with pytest.raises(ConfigurationError, match="already holds certificates"):
        make_certificates(certificates)


@pytest.mark.parametrize("name", ["dealer.key", "p0.crt"])
@pytest.mark.parametrize("link", [False, True])
def test_a_file_that_is_there_is_neither_used_nor_followed(tmp_path: Path, name: str, link: bool) -> None:
    folder, elsewhere = tmp_path / "tls", tmp_path / "elsewhere"
    folder.mkdir()
    if link:
        (folder / name).symlink_to(elsewhere)
    else:
        (folder / name).write_text("old")
    with pytest.raises(ConfigurationError, match=rf"already holds certificates \({name}\)"):
        make_certificates(folder)
    assert [path.name for path in folder.iterdir()] == [name], "nothing is left of the attempt"
    assert not elsewhere.exists()
    assert link or (folder / name).read_text() == "old"


@pytest.mark.parametrize("host", ["dealer", "P1", "client."])
def test_a_machine_with_another_roles_name_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"p0's machine cannot be called '{host}'.* pass for "):
        make_certificates(tmp_path / "tls", {"p0": ["p0", "example.org", host]})
    assert not (tmp_path / "tls").exists()


def test_clients_get_certificates_of_their_own_that_name_them(settings: PartiesSettings, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    make_certificates(folder, clients=("alice", "bob"))
    assert not (folder / "client.crt").exists()
    for kind in ("crt", "key"):
        shutil.copy(folder / f"client-bob.{kind}", folder / f"client.{kind}")
    settings = replace(settings, tls_dir=folder)
    seen: list[Identity] = []

    class Noting(PartyServer):
        def _serve(self, link: Link, watch: ClientWatch, context: grpc.ServicerContext) -> None:
            seen.append(certificate_identity(context.auth_context()))
            super()._serve(link, watch, context)

    server, dialer = Noting(settings, "p0", FakeEngine()), Dialer(settings, "client")
    server.start()
    message = hello("client")
    message.kind = Kind.KIND_UNLOAD
    dialer.dial("p0", "Run", message)
    assert seen == [Identity("client", "bob")]
    dialer.close()
    server.stop()
    with pytest.raises(ConfigurationError, match=r"a client cannot be called '\.\./x'"):
        make_certificates(tmp_path / "other", clients=("../x",))


def test_an_unknown_role_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown role 'p2'"):
        make_certificates(tmp_path / "tls", {"p2": ["localhost"]})


def test_check_names_what_is_wrong(copy_certificates: Callable[[], Path], other_certificates: Path) -> None:
    folder = copy_certificates()
    shutil.copy(other_certificates / "p0.crt", folder)
    shutil.copy(folder / "client.crt", folder / "p1.crt")
    (folder / "dealer.key").chmod(0o644)
    (folder / "owner.key").unlink()
    findings = "\n".join(check_certificates(folder))
    assert "p0: " in findings and "was not issued by the authority" in findings
    assert "p1.crt is made out to ['client'], not to p1" in findings
    assert "dealer: other users may read" in findings and "(mode 0644); run: chmod 600" in findings
    assert "owner: " in findings and "cannot be read" in findings
    assert "client: " not in findings


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_that_others_may_read_is_refused_at_start(
    settings: PartiesSettings, copy_certificates: Callable[[], Path], mode: int
) -> None:
    settings = replace(settings, tls_dir=copy_certificates())
    for role in ("p0", "client"):
        (settings.tls_dir / f"{role}.key").chmod(mode)
    with pytest.raises(
        ConfigurationError, match=rf"other users may read .*p0\.key \(mode {mode:04o}\); run: chmod 600"
    ):
        PartyServer(settings, "p0", FakeEngine()).start()
    with pytest.raises(ConfigurationError, match=r"other users may read .*client\.key"):
        Dialer(settings, "client")
    (settings.tls_dir / "client.key").chmod(0o400)
    Dialer(settings, "client").close()


def test_expired_certificates_are_found(tmp_path: Path) -> None:
    make_certificates(tmp_path / "tls", days=0)
    assert all("ended on" in finding for finding in check_certificates(tmp_path / "tls"))
    assert len(check_certificates(tmp_path / "tls")) == len(ROLES)


def test_a_role_whose_certificate_has_ended_neither_dials_nor_listens(
    settings: PartiesSettings, tmp_path: Path
) -> None:
    make_certificates(tmp_path / "tls", days=0)
    settings = replace(settings, tls_dir=tmp_path / "tls")
    with pytest.raises(ConfigurationError, match=r"client\.crt ended on .*; make all of them again.* secure certs"):
        Dialer(settings, "client")
    with pytest.raises(ConfigurationError, match=r"p0\.crt ended on "):
        LiveCertificates(settings.tls_dir, "p0")


@pytest.mark.parametrize("other", ["owner.key", "client.crt"])
def test_a_key_that_is_not_the_certificates_is_named(
    settings: PartiesSettings, copy_certificates: Callable[[], Path], other: str
) -> None:
    folder = copy_certificates()
    shutil.copy(folder / other, folder / "client.key")
    with pytest.raises(ConfigurationError, match=r"client\.key is not the key of .*client\.crt"):
        Dialer(replace(settings, tls_dir=folder), "client")
    assert len(check_certificates(folder)) == 1


def test_certificates_of_two_authorities_do_not_mix(
    settings: PartiesSettings, copy_certificates: Callable[[], Path], other_certificates: Path
) -> None:
    folder = copy_certificates()
    for kind in ("crt", "key"):
        shutil.copy(other_certificates / f"client.{kind}", folder)
    with pytest.raises(ConfigurationError, match=r"client\.crt was not issued by the authority"):
        Dialer(replace(settings, tls_dir=folder), "client")


def test_missing_certificates_say_how_to_make_them(settings: PartiesSettings, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"authority\.crt: cannot be read.*secure certs"):
        Dialer(replace(settings, tls_dir=tmp_path), "client")


def hello(role: str) -> Hello:
    return Hello(protocol_version=PROTOCOL_VERSION, session="00" * 16, role=role, family="beaver")


def test_a_certificate_of_another_authority_is_refused(local_parties: LocalParties, other_certificates: Path) -> None:
    dialer = Dialer(replace(local_parties.settings, tls_dir=other_certificates), "client")
    with pytest.raises(
        HandshakeError, match=r"client dialling p0 at .*: certificate differs: .* another run of secure certs'$"
    ):
        dialer.dial("p0", "Run", hello("client"))
    dialer.close()


@pytest.mark.parametrize("rendezvous_seconds", [1.0])
def test_a_server_refuses_callers_of_another_authority(
    local_parties: LocalParties, copy_certificates: Callable[[], Path], other_certificates: Path
) -> None:
    # The caller trusts p0, but p0 does not trust the caller: a folder put together by hand.
    folder = copy_certificates()
    both = (folder / "authority.crt").read_bytes() + (other_certificates / "authority.crt").read_bytes()
    for kind in ("crt", "key"):
        shutil.copy(other_certificates / f"client.{kind}", folder)
    (folder / "authority.crt").write_bytes((other_certificates / "authority.crt").read_bytes() + both)
    dialer = Dialer(replace(local_parties.settings, tls_dir=folder), "client")
    with pytest.raises(HandshakeError, match='certificate differs: this side has "client\'s, from our authority"'):
        dialer.dial("p0", "Run", hello("client"))
    dialer.close()


def test_an_address_that_another_role_answers_is_refused(local_parties: LocalParties) -> None:
    parties = {**local_parties.settings.parties, "p0": local_parties.settings.parties["p1"]}
    dialer = Dialer(replace(local_parties.settings, parties=parties), "client")
    with pytest.raises(
        HandshakeError, match=r"certificate differs: this side has \"p0's.*one made out to another role"
    ):
        dialer.dial("p0", "Run", hello("client"))
    dialer.close()


def test_a_connection_without_a_handshake_is_closed(settings: PartiesSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    sooner = [(name, 300 if name == "grpc.server_handshake_timeout_ms" else value) for name, value in SERVER_OPTIONS]
    monkeypatch.setattr("secure.parties.process.server.SERVER_OPTIONS", sooner)
    server = PartyServer(settings, "p0", FakeEngine())
    server.start()
    host, _, port = settings.parties["p0"].listen.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as silent:
        assert silent.recv(1) == b""
    server.stop()


def test_a_name_of_which_one_address_is_taken_is_refused(settings: PartiesSettings) -> None:
    """As localhost is where a program listens on 127.0.0.1 alone and gRPC would be content with [::1]."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = f"localhost:{port}"
        parties = {**settings.parties, "p0": replace(settings.parties["p0"], listen=listen)}
        server = PartyServer(replace(settings, parties=parties), "p0", FakeEngine())
        with pytest.raises(PortInUse, match=f"p0 cannot listen on {listen}: the port is in use"):
            server.start()


@pytest.mark.parametrize(
    ("names", "alternative_names"),
    [([b"p2"], [b"urn:secure-inference:role:p2"]), ([b"p0"], [b"p0"]), ([], []), ([b"p0", b"p1"], [b"p0"])],
)
def test_a_certificate_must_name_one_role_twice(names: list[bytes], alternative_names: list[bytes]) -> None:
    with pytest.raises(HandshakeError, match="certificate name differs"):
        certificate_role({"x509_common_name": names, "x509_subject_alternative_name": alternative_names})
