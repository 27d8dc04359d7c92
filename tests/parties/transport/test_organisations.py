"""Each organisation with its own authority: who is taken for whom, rotation, and what is taken back."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from secure.parties.client.client import Client
from secure.parties.config import CALLERS, PARTIES, PartiesSettings
from secure.parties.process import trust_watch
from secure.parties.session.handshake import PROTOCOL_VERSION
from secure.parties.transport import tls
from secure.parties.transport.certificates.authority import ISSUED, Authority, issued, revoked
from secure.parties.transport.certificates.listing import own_certificates, trusted
from secure.parties.transport.certificates.making import make_certificates
from secure.parties.transport.certificates.own import LiveCertificates, check_certificates
from secure.parties.transport.certificates.requesting import install, request
from secure.parties.transport.certificates.trust import forget_authority, read_trust, take_list, trust_authority
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.wire_pb2 import Hello, Kind
from secure.protocols.core.errors import ConfigurationError, HandshakeError, PartyLost, SecureInferenceError
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties, eventually

PASSPHRASE = "correct horse"
ORGANISATIONS = {"p0": "A", "p1": "B", "dealer": "C", "client": "A", "owner": "A"}
"""Whose each role is."""


class Organisations:
    """Three authorities, and a folder for each host, where every role trusts each authority for its own roles alone."""

    def __init__(self, folder: Path) -> None:
        self.authorities = {
            name: Authority.create(folder / f"authority-{name}", name, PASSPHRASE, 30) for name in "ABC"
        }
        self.hosts = {role: folder / role for role in ORGANISATIONS}
        for role, host in self.hosts.items():
            path = request(host, role, "alice" if role == "client" else None)
            for other, organisation in ORGANISATIONS.items():
                trust_authority(host, self.authority_pem(organisation), [other])
            install(host, self.sign(role, path))

    def authority_pem(self, organisation: str) -> bytes:
        return (self.authorities[organisation].folder / "authority.crt").read_bytes()

    def sign(self, role: str, path: Path, organisation: str | None = None) -> bytes:
        authority = self.authorities[organisation or ORGANISATIONS[role]]
        return authority.sign(path.read_bytes(), role, "alice" if role == "client" else None, 30)[0]

    def rotate(self, role: str) -> None:
        install(self.hosts[role], self.sign(role, request(self.hosts[role], role, self.name(role))))

    def name(self, role: str) -> str | None:
        return "alice" if role == "client" else None

    def serial(self, role: str) -> int:
        return x509.load_pem_x509_certificate((self.hosts[role] / f"{role}.crt").read_bytes()).serial_number


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Organisations:
    return Organisations(tmp_path_factory.mktemp("organisations"))


@pytest.fixture
def organisations(tmp_path: Path) -> Organisations:
    return Organisations(tmp_path)


@pytest.fixture
def parties(
    organisations: Organisations, settings: PartiesSettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalParties]:
    monkeypatch.setattr(trust_watch, "_LOOK_SECONDS", 0.05)
    own = {role: replace(settings, tls_dir=organisations.hosts[role]) for role in PARTIES}
    parties = LocalParties(settings, own)
    yield parties
    parties.stop_all()


@pytest.fixture
def client(organisations: Organisations, parties: LocalParties) -> Iterator[Client]:
    with Client(replace(parties.settings, tls_dir=organisations.hosts["client"])) as client:
        yield client


def predict(client: Client) -> tuple[bytes, ...]:
    manifest, request = FakeManifest(), FakeRequest()
    return client.predict(manifest.digest, manifest.policy.digest(), request, (b"ab", b"cd")).payloads


def hello(role: str) -> Hello:
    message = Hello(protocol_version=PROTOCOL_VERSION, session="00" * 16, role=role, family="beaver")
    message.kind = Kind.KIND_UNLOAD
    return message


def test_three_organisations_predict_and_rotate_without_a_restart(
    organisations: Organisations, client: Client, shares: dict[str, Path]
) -> None:
    client.load_model(FakeManifest(), shares)
    assert predict(client) == (b"ba", b"dc")
    for role in ("p1", "client", "dealer", "p0"):
        before = organisations.serial(role)
        organisations.rotate(role)
        assert organisations.serial(role) != before
        assert predict(client) == (b"ba", b"dc"), f"after {role} has changed its certificate"
    for role, host in organisations.hosts.items():
        assert check_certificates(host, (role,)) == []
        assert not list(host.glob("*.csr")) and not list(host.glob("*.new.key"))


def test_an_authority_vouches_for_no_role_but_those_it_is_trusted_for(
    made: Organisations, tmp_path: Path, parties: LocalParties
) -> None:
    """Organisation A, which runs p0, makes itself a p1 and a dealer."""
    trust = read_trust(made.hosts["client"])
    for role in ("p1", "dealer"):
        forged = made.sign(role, request(tmp_path, role), "A")
        assert not trust.vouches(x509.load_pem_x509_certificate(forged), role)
        with pytest.raises(ConfigurationError, match=f"does not trust the authority that signed .* for {role}"):
            install_in(made.hosts["client"], tmp_path, role, forged)


def install_in(trusting: Path, folder: Path, role: str, certificate: bytes) -> None:
    """Install with the trust of another folder."""
    for source in (trusting / "trusted").glob("*/*.crt"):
        target = folder / "trusted" / source.parent.name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    install(folder, certificate)


@pytest.mark.parametrize("rendezvous_seconds", [1.0])
def test_over_the_wire_a_forged_dealer_and_a_forged_p1_are_refused(
    organisations: Organisations, parties: LocalParties, tmp_path: Path
) -> None:
    """Organisation A has all keys that it can make. p0 and the client are its own: the others must not be taken in."""
    forged = tmp_path / "forged"
    for role in ("dealer", "p1"):
        trust_authority(forged, organisations.authority_pem("A"), [role])
        for other, organisation in ORGANISATIONS.items():
            trust_authority(forged, organisations.authority_pem(organisation), [other])
        install(forged, organisations.sign(role, request(forged, role), "A"))
    dialer = Dialer(replace(parties.settings, tls_dir=forged), "dealer")
    message = hello("dealer")
    message.kind = Kind.KIND_PREDICT
    with pytest.raises(HandshakeError, match="dealer's, from an authority that is trusted for it"):
        dialer.dial("p1", "Deal", message)  # TLS takes it, as A vouches for clients
    dialer.close()
    # Nobody dials a p1 that shows A's certificate.
    parties.stop("p1")
    parties.own["p1"] = replace(parties.settings, tls_dir=forged)
    parties.start("p1")
    dialer = Dialer(replace(parties.settings, tls_dir=organisations.hosts["client"]), "client")
    with pytest.raises(HandshakeError, match="p1's, from our authority"):
        dialer.dial("p1", "Run", hello("client"))
    dialer.close()


def test_a_revoked_client_is_refused_on_its_open_connection(
    organisations: Organisations, client: Client, shares: dict[str, Path]
) -> None:
    client.load_model(FakeManifest(), shares)
    assert predict(client) == (b"ba", b"dc")
    revoke(organisations, "client")
    with pytest.raises(HandshakeError, match="one that was revoked"):
        predict(client)
    organisations.rotate("client")
    assert predict(client) == (b"ba", b"dc"), "a new certificate is another one"


def test_a_client_whose_certificate_has_ended_is_refused_on_its_open_connection(
    organisations: Organisations, client: Client, shares: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client.load_model(FakeManifest(), shares)
    assert predict(client) == (b"ba", b"dc")
    later = tls.now() + datetime.timedelta(days=400)
    monkeypatch.setattr(tls, "now", lambda: later)
    with pytest.raises(HandshakeError, match=r"client's, of today.*one that has ended"):
        predict(client)
    monkeypatch.undo()
    assert predict(client) == (b"ba", b"dc")


def revoke(organisations: Organisations, role: str) -> None:
    authority = organisations.authorities[ORGANISATIONS[role]]
    data = authority.revoke(organisations.serial(role)).read_bytes()
    for host in organisations.hosts.values():
        if host != organisations.hosts[role]:
            take_list(host, data)


def test_a_running_session_of_a_revoked_client_ends(organisations: Organisations, parties: LocalParties) -> None:
    """The client has opened a session and lets the party wait; nothing else would end it soon."""
    dialer = Dialer(replace(parties.settings, tls_dir=organisations.hosts["client"]), "client")
    link, _ = dialer.dial("dealer", "Probe", hello("client"))
    assert parties.servers["dealer"].client_streams == 1
    revoke(organisations, "client")
    with pytest.raises(SecureInferenceError):
        link.next_frame()
    eventually(lambda: parties.servers["dealer"].client_streams == 0)
    dialer.close()


def test_what_goes_on_with_a_peer_ends_when_its_authority_is_forgotten(
    organisations: Organisations, parties: LocalParties
) -> None:
    host = organisations.hosts["client"]
    dialer = Dialer(replace(parties.settings, tls_dir=host), "client")
    link, _ = dialer.dial("p1", "Probe", hello("client"))
    other, _ = dialer.dial("p0", "Probe", hello("client"))
    forget_authority(host, organisations.authority_pem("B"), ["p1"])
    dialer.refresh()
    with pytest.raises(PartyLost):
        link.next_frame()
    assert parties.servers["p0"].client_streams == 1, "p0 is vouched for as before"
    with pytest.raises(SecureInferenceError):
        dialer.dial("p1", "Probe", hello("client"))
    other.cancel()
    dialer.close()


def test_a_rotation_that_is_not_complete_changes_nothing(made: Organisations, tmp_path: Path) -> None:
    host = tmp_path / "host"
    install_in(made.hosts["p0"], host, "p0", made.sign("p0", request(host, "p0")))
    live = LiveCertificates(host, "p0")
    before = live.current()
    assert live.current() is before
    path = request(host, "p0")
    assert live.current() is before, "a request is no rotation"
    (host / "p0.new.key").rename(host / "p0.key")
    assert live.current() is before, "the key of a certificate that is not there yet"
    install(host, made.sign("p0", path))
    after = live.current()
    assert after is not before and after.certificate != before.certificate


@pytest.mark.parametrize(
    ("role", "name", "problem"),
    [
        ("p0", None, "the request is of client 'alice', and you sign for p0"),
        ("client", None, "the request is of client 'alice', and you sign for client;"),
        ("client", "bob", "the request is of client 'alice', and you sign for client 'bob'"),
        ("owner", "alice", "and you sign for owner 'alice'"),
    ],
)
def test_a_request_that_says_otherwise_is_not_signed(
    made: Organisations, tmp_path: Path, role: str, name: str | None, problem: str
) -> None:
    data = request(tmp_path, "client", "alice").read_bytes()
    authority = made.authorities["A"]
    before = (authority.folder / ISSUED).read_bytes()
    with pytest.raises(ConfigurationError, match=problem):
        authority.sign(data, role, name, 30)
    assert (authority.folder / ISSUED).read_bytes() == before


def test_only_known_names_of_a_request_are_signed(made: Organisations) -> None:
    """A request by another program asks to be p1 besides, and to be an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [
        x509.DNSName("client"),
        x509.DNSName("host.example.org"),
        x509.UniformResourceIdentifier("urn:secure-inference:role:client"),
        x509.UniformResourceIdentifier("urn:example:admin"),
    ]

    def asked(more: list[x509.GeneralName]) -> bytes:
        builder = x509.CertificateSigningRequestBuilder().subject_name(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
        )
        builder = builder.add_extension(x509.SubjectAlternativeName(names + more), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    certificate = x509.load_pem_x509_certificate(made.authorities["A"].sign(asked([]), "client", None, 30)[0])
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    signed = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert signed.get_values_for_type(x509.DNSName) == ["client", "host.example.org"]
    assert signed.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:secure-inference:role:client"]
    with pytest.raises(ConfigurationError, match="client's machine cannot be called 'p1'"):
        made.authorities["A"].sign(asked([x509.DNSName("p1")]), "client", None, 30)
    two = x509.UniformResourceIdentifier("urn:secure-inference:role:p1")
    with pytest.raises(ConfigurationError, match="not as secure certs request makes it"):
        made.authorities["A"].sign(asked([two]), "client", None, 30)
    broken = bytearray(asked([]))
    with pytest.raises(ConfigurationError, match="no certificate request"):
        made.authorities["A"].sign(bytes(broken[:100]), "client", None, 30)


def test_lists_of_revoked_certificates(organisations: Organisations, tmp_path: Path) -> None:
    authority, host = organisations.authorities["A"], organisations.hosts["p1"]
    first = authority.revoke(organisations.serial("client")).read_bytes()
    second = authority.revoke(organisations.serial("owner")).read_bytes()
    assert take_list(host, second)[1] == 2
    with pytest.raises(ConfigurationError, match="older than the one that is here"):
        take_list(host, first)
    with pytest.raises(ConfigurationError, match=r"was taken back on .* already"):
        authority.revoke(organisations.serial("owner"))
    with pytest.raises(ConfigurationError, match="no certificate of this authority"):
        authority.revoke(organisations.serial("p1"))
    stranger = Authority.create(tmp_path / "stranger", "B", PASSPHRASE, 30)
    path = request(tmp_path, "p1")
    _, line = stranger.sign(path.read_bytes(), "p1", None, 30)
    with pytest.raises(ConfigurationError, match="of no authority that is trusted here"):
        take_list(host, stranger.revoke(int(line.serial, 16)).read_bytes())
    forged = second.replace(b"A", b"B", 40)
    with pytest.raises(ConfigurationError):
        take_list(host, forged)
    assert len(revoked(authority.folder)) == 2
    assert [one.role for one in issued(authority.folder)] == ["p0", "client", "owner"]
    taken = {"p0": "2", "p1": "0", "dealer": "0", "client": "2", "owner": "2"}
    assert {role: count for role, _, count in trusted(host)} == taken


def test_the_authoritys_key_opens_with_its_passphrase_alone(made: Organisations, tmp_path: Path) -> None:
    folder = made.authorities["A"].folder
    assert (folder / "authority.key").stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in (folder / "authority.key").read_bytes()
    with pytest.raises(ConfigurationError, match="the passphrase does not open it"):
        Authority(folder, "wrong")
    with pytest.raises(ConfigurationError, match="needs a passphrase"):
        Authority.create(tmp_path / "new", "D", "", 30)
    with pytest.raises(ConfigurationError, match="make one with: secure certs authority"):
        Authority(tmp_path, PASSPHRASE)


def test_a_folder_of_one_authority_goes_on_when_another_one_is_trusted(
    certificates: Path, copy_certificates: Callable[[], Path], made: Organisations
) -> None:
    folder = copy_certificates()
    trust_authority(folder, made.authority_pem("B"), ["p1"])
    assert check_certificates(folder, (*PARTIES, *CALLERS)) == []
    trust = read_trust(folder)
    assert len(trust.authorities["p1"]) == 2 and len(trust.authorities["p0"]) == 1
    forget_authority(folder, made.authority_pem("B"), ["p1"])
    with pytest.raises(ConfigurationError, match="does not trust"):
        forget_authority(folder, made.authority_pem("B"), ["p1"])
    with pytest.raises(ConfigurationError, match="is no authority's"):
        trust_authority(folder, (folder / "p0.crt").read_bytes(), ["p1"])
    with pytest.raises(ConfigurationError, match="unknown role 'p9'"):
        trust_authority(folder, made.authority_pem("B"), ["p9"])


def test_what_a_host_has_is_shown(made: Organisations, tmp_path: Path) -> None:
    (row,) = own_certificates(made.hosts["client"])
    assert row[:2] == ("client", "alice") and row[2].startswith("secure-inference A ") and row[6] == "ok"
    request(tmp_path, "p1")
    trust_authority(tmp_path, made.authority_pem("B"), ["p1"])
    assert own_certificates(tmp_path) == [("p1", "", "", "", "", "", "waits for its certificate")]
    with pytest.raises(ConfigurationError, match=r"p1\.csr waits for its certificate"):
        request(tmp_path, "p1")


def test_make_certificates_needs_no_trusted_folder(tmp_path: Path) -> None:
    make_certificates(tmp_path / "all")
    assert not (tmp_path / "all" / "trusted").exists()
    assert read_trust(tmp_path / "all").revoked == {}
