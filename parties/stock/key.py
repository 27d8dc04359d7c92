"""The key under which a party keeps anything secret on its disk, and where that key is between two starts.

    memory       drawn at the start, in this process alone: whatever was sealed before a restart is lost, by intention
    systemd      in a sealed memory file that the service manager holds while the unit restarts; gone with a reboot
    credential   a file of $CREDENTIALS_DIRECTORY, which systemd decrypts with the machine's TPM or its own secret
    file         on the same disk as what it seals, where it protects nothing but a disk without it; said loudly

A supervisor other than systemd can hand the descriptor down as systemd does: LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES.
Formats of these variables and of NOTIFY_SOCKET: sd_listen_fds(3), sd_notify(3) and sd_pid_notify_with_fds(3).
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from secure.models.storage import system
from secure.parties.stock_settings import KeyKind
from secure.protocols.core.errors import ConfigurationError

with suppress(ImportError):  # Windows has none; a client needs none
    import fcntl

KEY_BYTES = 32
NAME = "secure-key"
"""The descriptor's name at the service manager, and the credential's."""

_FIRST_DESCRIPTOR = 3  # where systemd's descriptors begin
_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE
_ADD_SEALS, _GET_SEALS = 1033, 1034  # F_ADD_SEALS, F_GET_SEALS, which the standard library has not on every build
_LOG = logging.getLogger("parties")


@dataclass(frozen=True)
class StoreKey:
    """A party's key, of which each use takes one derived for its purpose.

    outlives: whether a restart of the process finds the same key again.
    """

    secret: bytes = field(repr=False)
    outlives: bool

    def derived(self, purpose: str) -> bytes:
        """32 bytes for one purpose: HMAC-SHA-256 of its name, so one derived key tells nothing about another."""
        return hmac.digest(self.secret, b"secure-inference key 1\n" + purpose.encode(), hashlib.sha256)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that tell two keys apart and say nothing else about them."""
        return self.derived("fingerprint")[:8].hex()


def find_key(kind: KeyKind, folder: Path) -> StoreKey:
    """The key of this process. folder: of what is sealed, where a key of kind "file" lies, too.

    Raises ConfigurationError where the kind needs what this process or system does not have.
    """
    if kind == "memory":
        return StoreKey(os.urandom(KEY_BYTES), outlives=False)
    if kind == "systemd":
        return StoreKey(_held_by_manager(), outlives=True)
    if kind == "credential":
        return StoreKey(_credential(), outlives=True)
    _LOG.warning(
        'stock.key = "file": the key lies beside what it seals, in %s; whoever copies this disk can read the stock and '
        "the models there. For tests only.",
        folder / NAME,
    )
    return StoreKey(_of_file(folder / NAME), outlives=True)


def sealed_memory(secret: bytes) -> int:
    """A descriptor of a memory file that holds a secret and that nobody can change any more."""
    if not hasattr(os, "memfd_create"):
        raise ConfigurationError(f"stock.key: {sys.platform} has no memory files; use another key, such as 'memory'")
    descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, secret)
    fcntl.fcntl(descriptor, _ADD_SEALS, _SEALS)
    return descriptor


def _held_by_manager() -> bytes:
    """The key of an inherited descriptor; at the first start a fresh one, which the service manager is given."""
    descriptor = _inherited()
    if descriptor is not None:
        os.set_inheritable(descriptor, False)
        if fcntl.fcntl(descriptor, _GET_SEALS) & _SEALS != _SEALS:
            raise ConfigurationError(f"the descriptor {NAME!r} is no sealed memory file; restart the unit's manager")
        return _checked(os.pread(descriptor, KEY_BYTES + 1, 0), f"the descriptor {NAME!r}")
    secret = os.urandom(KEY_BYTES)
    _hand_over(sealed_memory(secret))
    return secret


def _inherited() -> int | None:
    """The number of the descriptor of that name, where one was handed down to this very process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")[: int(os.environ.get("LISTEN_FDS", "0"))]
    return _FIRST_DESCRIPTOR + names.index(NAME) if NAME in names else None


def _hand_over(descriptor: int) -> None:
    """Let the service manager hold a descriptor. Raises ConfigurationError where there is none that would."""
    try:
        taken = system.tell_service_manager(f"FDSTORE=1\nFDNAME={NAME}\n", [descriptor])
    except OSError as error:
        raise ConfigurationError(f"stock.key: the service manager does not take the key: {error.strerror}") from None
    if not taken:
        raise ConfigurationError(
            'stock.key = "systemd": no service manager holds the key or takes one ($NOTIFY_SOCKET is not set); run the '
            'party as a unit with NotifyAccess=main and FileDescriptorStoreMax=1, or use key = "memory"'
        )


def _credential() -> bytes:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ConfigurationError(
            f'stock.key = "credential": $CREDENTIALS_DIRECTORY is not set; give the unit LoadCredentialEncrypted={NAME}'
        )
    path = Path(folder) / NAME
    try:
        return _checked(path.read_bytes(), f"the credential {NAME!r}")
    except OSError as error:
        raise ConfigurationError(f"the credential {NAME!r} cannot be read: {error.strerror}") from None


def _of_file(path: Path) -> bytes:
    try:
        with suppress(FileExistsError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(os.urandom(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise ConfigurationError(f"other users may read {path}; remove it, and all that was sealed under it")
        return _checked(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read or written: {error.strerror}") from None


def _checked(secret: bytes, where: str) -> bytes:
    if len(secret) != KEY_BYTES:
        raise ConfigurationError(f"{where} has {len(secret)} bytes instead of a key's {KEY_BYTES}")
    return secret
