"""`secure certs --client`: certificates that the command makes, at parties that heed whom they name."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure.cli import main
from secure.parties.client.client import Client
from secure.parties.config import PARTIES, PartiesSettings, PartySettings
from secure.parties.launcher import free_addresses
from secure.protocols.core.errors import ConfigurationError, ModelNotLoaded
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties


def test_clients_with_certificates_of_their_own_do_not_unload_each_others_models(tmp_path: Path) -> None:
    certs, names = tmp_path / "certs", ("anna", "berta")
    arguments = ["certs", "--out", str(certs), *(word for name in names for word in ("--client", name))]
    done = CliRunner().invoke(main.app, arguments)
    assert done.exit_code == 0, done.output
    assert not (certs / "client.crt").exists(), "nobody has one that all clients share"
    for name in names:
        host = tmp_path / name
        host.mkdir()
        shutil.copy(certs / "authority.crt", host)
        for kind in ("crt", "key"):  # as the command's help says
            shutil.copy(certs / f"client-{name}.{kind}", host / f"client.{kind}")
    share = tmp_path / "share"
    share.write_bytes(b"abc")
    shares, manifest, request = dict.fromkeys(("p0", "p1"), share), FakeManifest(), FakeRequest()
    addresses = {role: PartySettings(address, address) for role, address in free_addresses().items()}
    settings = PartiesSettings(addresses, certs)
    parties = LocalParties(settings)

    def predict(client: Client) -> tuple[bytes, ...]:
        return client.predict(manifest.digest, manifest.policy.digest(), request, (b"ab", b"cd")).payloads

    clients = [Client(replace(settings, tls_dir=tmp_path / name)) for name in names]
    with clients[0] as anna, clients[1] as berta:
        for client in (anna, berta):
            client.load_model(manifest, shares)
            assert predict(client) == (b"ba", b"dc")
        anna.unload_model(manifest.digest)
        assert predict(berta) == (b"ba", b"dc"), "anna has taken nothing from her"
        load_id = berta._load_ids[manifest.digest]
        berta.unload_model(manifest.digest)
        berta._load_ids[manifest.digest] = load_id
        with pytest.raises(ModelNotLoaded):
            predict(berta)
    parties.stop_all()
    assert set(parties.settings.parties) == set(PARTIES)


def test_a_client_cannot_use_the_shared_name_where_each_has_its_own(tmp_path: Path) -> None:
    CliRunner().invoke(main.app, ["certs", "--out", str(tmp_path), "--client", "anna"])
    settings = PartiesSettings({role: PartySettings(":1", ":1") for role in PARTIES}, tmp_path)
    with pytest.raises(ConfigurationError, match=r"client\.crt: cannot be read"):
        Client(settings)


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main.app, ["certs", "--out", str(tmp_path / "certs"), "--client", "a b"])
    assert isinstance(done.exception, ConfigurationError)
    assert "a client cannot be called 'a b'" in str(done.exception)
    assert not (tmp_path / "certs").exists()
