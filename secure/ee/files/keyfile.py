"""The key file: 32 secret bytes and the vocabulary's epoch, under a passphrase.

    wrapping key = scrypt(passphrase, salt; n = 2^17, r = 8, p = 1)          128 MiB and about half a second a guess
    sealed       = AES-256-GCM(wrapping key, nonce, secret; associated data: every other field of the file)

The file is JSON, so that other programs can open it; `sealed` ends with the 16 bytes of the tag. The other fields are
associated data: an epoch that somebody changed does not open. A file without a passphrase is written only on request.
The file has mode 0600, is never overwritten, and a file that others may read is refused.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from secure.protocols.core.errors import ConfigurationError
from secure.protocols.equivariant.key import Key

FORMAT = "secure-inference ee key 1"
SECRET_BYTES = 32
_SALT_BYTES = 16
_NONCE_BYTES = 12
_BLOCK_SIZE, _PARALLEL = 8, 1
_LOG_COST = 17
# A file names its own cost. More than 1 GiB of memory is no key file of ours but a way to stop this program.
_MOST_LOG_COST = 20
_OTHERS = 0o077


def write_key(path: Path, key: Key, passphrase: str | None) -> None:
    """Write a new key file. passphrase: None leaves the secret in the clear.

    Raises ConfigurationError when the file exists or cannot be written, or the passphrase is empty.
    """
    if passphrase == "":
        raise ConfigurationError("the passphrase is empty; choose one, or ask for a key file in the clear")
    fields: dict[str, Any] = {"format": FORMAT, "epoch": key.epoch, "check": key.check_value}
    if passphrase is None:
        fields |= {"protection": "none", "secret": key.secret.hex()}
    else:
        salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
        kdf = {"name": "scrypt", "salt": salt.hex(), "n": 1 << _LOG_COST, "r": _BLOCK_SIZE, "p": _PARALLEL}
        fields |= {"protection": "scrypt+aes-256-gcm", "kdf": kdf, "nonce": nonce.hex()}
        cipher = AESGCM(_wrapping_key(passphrase, kdf))
        fields["sealed"] = cipher.encrypt(nonce, key.secret, _associated(fields)).hex()
    _write_new(path, json.dumps(fields, indent=2) + "\n")


def read_key(path: Path, passphrase: str | None = None) -> Key:
    """The key in a file.

    Raises ConfigurationError when it cannot be read, others may read it, it needs a passphrase and has none, the
    passphrase is wrong, or its fields were changed.
    """
    fields = _fields(path)
    try:
        if fields["protection"] == "none":
            secret = bytes.fromhex(fields["secret"])
        elif passphrase is None:
            raise ConfigurationError(f"{path} is under a passphrase, and none was given")
        else:
            secret = _open(path, fields, passphrase)
        epoch = fields["epoch"]
        if len(secret) != SECRET_BYTES or type(epoch) is not int or epoch < 0:
            raise ValueError("length or epoch")
        key = Key(secret, epoch)
    except (KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{path} is a damaged key file; restore it from a copy") from None
    if key.check_value != fields.get("check"):
        raise ConfigurationError(f"{path} was changed: its check value is not its secret's; restore it from a copy")
    return key


def needs_passphrase(path: Path) -> bool:
    """Whether the file is under a passphrase. Raises ConfigurationError as `read_key` does."""
    return bool(_fields(path).get("protection") != "none")


def _fields(path: Path) -> dict[str, Any]:
    try:
        text, mode = path.read_text(encoding="utf-8"), path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"the key file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is no key file; make one with secure ee keygen") from None
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ConfigurationError(f"{path} is no key file; make one with secure ee keygen")
    if mode & _OTHERS:
        raise ConfigurationError(f"other users may read {path} (mode {mode & 0o777:04o}); run: chmod 600 {path}")
    return fields


def _open(path: Path, fields: dict[str, Any], passphrase: str) -> bytes:
    try:
        return AESGCM(_wrapping_key(passphrase, fields["kdf"])).decrypt(
            bytes.fromhex(fields["nonce"]), bytes.fromhex(fields["sealed"]), _associated(fields)
        )
    except InvalidTag:
        raise ConfigurationError(f"{path} does not open: the passphrase is wrong, or the file was changed") from None


def _wrapping_key(passphrase: str, kdf: dict[str, Any]) -> bytes:
    cost = int(kdf["n"])
    if (
        kdf["name"] != "scrypt"
        or not 1 < cost <= 1 << _MOST_LOG_COST
        or (kdf["r"], kdf["p"]) != (_BLOCK_SIZE, _PARALLEL)
    ):
        raise ValueError("parameters")
    salt = bytes.fromhex(kdf["salt"])
    return Scrypt(salt=salt, length=32, n=cost, r=_BLOCK_SIZE, p=_PARALLEL).derive(passphrase.encode("utf-8"))


def _associated(fields: dict[str, Any]) -> bytes:
    others = {name: value for name, value in fields.items() if name != "sealed"}
    return json.dumps(others, sort_keys=True, separators=(",", ":")).encode("ascii")


def _write_new(path: Path, text: str) -> None:
    """The file appears whole, with mode 0600, or not at all; one that exists stays as it is."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            # A rename would replace a key that is there; a link fails instead.
            os.link(temporary, path)
        finally:
            temporary.unlink()
    except FileExistsError:
        raise ConfigurationError(f"{path} exists; a key file is never overwritten, choose another name") from None
    except OSError as error:
        raise ConfigurationError(f"the key file {path} cannot be written: {error.strerror}") from None
