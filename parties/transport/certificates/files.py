"""Files of certificates and keys: written whole or not at all, keys for their owner alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from secure.protocols.core.errors import ConfigurationError

_OTHERS = 0o077
"""The bits of a file's mode that let its group and everybody else in."""


def new_key() -> ec.EllipticCurvePrivateKey:
    """A private key on P-256, from the system's generator."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """The key as a file holds it, under a passphrase if there is one."""
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        lock = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def private_folder(folder: Path) -> None:
    """Make the folder, for this user alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def write_new(folder: Path, files: Mapping[str, bytes]) -> None:
    """All of them or, where one cannot be written, none. Raises ConfigurationError for one that is there already."""
    private_folder(folder)
    written: list[Path] = []
    try:
        for name, data in files.items():
            path = folder / name
            # The mode is set at creation, so that a key is never readable by others, not even briefly. O_EXCL: a file
            # that is there would keep its own mode, and a link would lead elsewhere.
            mode = 0o600 if path.suffix == ".key" else 0o644
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
    except BaseException as error:
        for done in written:
            done.unlink()
        if isinstance(error, FileExistsError):
            raise ConfigurationError(
                f"{folder} already holds certificates ({name}); choose another folder or remove them first"
            ) from None
        raise


def replace_file(path: Path, data: bytes) -> None:
    """Put a public file in the place of another one, whole: who reads finds the old one or the new one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.writing")
    written.write_bytes(data)
    os.replace(written, path)


def read_file(path: Path, remedy: str) -> bytes:
    """The bytes of a file. Raises ConfigurationError that names it and the remedy."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}; {remedy}") from None


def check_key_file(path: Path) -> None:
    """Raise ConfigurationError where other users of this machine may read a key. Windows has no such modes."""
    mode = path.stat().st_mode
    if os.name == "posix" and mode & _OTHERS:
        raise ConfigurationError(
            f"other users may read {path} (mode {mode & 0o777:04o}); run: chmod 600 {path}, and where somebody may "
            "have copied it, make all certificates again"
        )
