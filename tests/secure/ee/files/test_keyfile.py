"""Key files: sealed under a passphrase as another implementation of AES understands it, and hard to lose or leak."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from Crypto.Cipher import AES
from Crypto.Protocol.KDF import scrypt

from secure.ee.files.keyfile import needs_passphrase, read_key, write_key
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.equivariant.key import Key

PASSPHRASE = "a passphrase with ümlauts"


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Path:
    path = tmp_path_factory.mktemp("keys") / "protected.key"
    write_key(path, key, PASSPHRASE)
    return path


def copied(path: Path, folder: Path, **fields: object) -> Path:
    changed = folder / "changed.key"
    changed.touch(0o600)
    changed.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return changed


def test_the_passphrase_opens_it(protected: Path, key: Key) -> None:
    assert needs_passphrase(protected)
    assert read_key(protected, PASSPHRASE) == key


def test_another_library_opens_it(protected: Path, key: Key) -> None:
    fields = json.loads(protected.read_text())
    kdf, sealed = fields["kdf"], bytes.fromhex(fields["sealed"])
    wrapping = scrypt(PASSPHRASE.encode(), bytes.fromhex(kdf["salt"]), 32, N=kdf["n"], r=kdf["r"], p=kdf["p"])
    cipher = AES.new(wrapping, AES.MODE_GCM, nonce=bytes.fromhex(fields["nonce"]))
    others = {name: value for name, value in fields.items() if name != "sealed"}
    cipher.update(json.dumps(others, sort_keys=True, separators=(",", ":")).encode())
    assert cipher.decrypt_and_verify(sealed[:-16], sealed[-16:]) == key.secret


def test_nothing_in_it_is_the_secret(protected: Path, key: Key) -> None:
    assert key.secret.hex() not in protected.read_text()


def test_a_wrong_passphrase_does_not_open_it(protected: Path) -> None:
    with pytest.raises(ConfigurationError, match="passphrase is wrong"):
        read_key(protected, PASSPHRASE + " ")


def test_without_a_passphrase_it_is_asked_for(protected: Path) -> None:
    with pytest.raises(ConfigurationError, match="under a passphrase"):
        read_key(protected)


def test_a_changed_epoch_does_not_open(protected: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="was changed"):
        read_key(copied(protected, tmp_path, epoch=1), PASSPHRASE)


@pytest.mark.parametrize("cost", [1 << 30, 0, -2])
def test_a_cost_that_is_none_or_would_stop_the_program_is_refused(protected: Path, tmp_path: Path, cost: int) -> None:
    kdf = json.loads(protected.read_text())["kdf"] | {"n": cost}
    with pytest.raises(ConfigurationError, match="damaged"):
        read_key(copied(protected, tmp_path, kdf=kdf), PASSPHRASE)


def test_in_the_clear_only_on_request(tmp_path: Path, key: Key) -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        write_key(tmp_path / "k", key, "")
    write_key(tmp_path / "k", key, None)
    assert not needs_passphrase(tmp_path / "k")
    assert read_key(tmp_path / "k") == key


def test_only_its_owner_may_read_it(tmp_path: Path, key: Key) -> None:
    path = tmp_path / "k"
    previous = os.umask(0)
    try:
        write_key(path, key, None)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_key(path)


def test_a_key_is_never_replaced(tmp_path: Path, key: Key) -> None:
    write_key(tmp_path / "k", key, None)
    with pytest.raises(ConfigurationError, match="never overwritten"):
        write_key(tmp_path / "k", Key.generate(), None)
    assert read_key(tmp_path / "k") == key
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


@pytest.mark.parametrize("text", ["", "{}", "[]", "\x00", '{"format": "another"}'])
def test_other_files_are_no_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text)
    with pytest.raises(ConfigurationError, match="is no key file"):
        read_key(tmp_path / "k")


def test_a_damaged_file_says_so(tmp_path: Path, key: Key) -> None:
    write_key(tmp_path / "k", key, None)
    with pytest.raises(ConfigurationError, match="damaged"):
        read_key(copied(tmp_path / "k", tmp_path, secret="00"))
    for epoch in (0.5, "0", False, -1):
        with pytest.raises(ConfigurationError, match="damaged"):
            read_key(copied(tmp_path / "k", tmp_path, epoch=epoch))
    with pytest.raises(ConfigurationError, match="check value"):
        read_key(copied(tmp_path / "k", tmp_path, secret="00" * 32))


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_key(tmp_path / "none")
