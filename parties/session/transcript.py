"""What a client and a computing party sent each other in one session, as digests that both can make."""

from __future__ import annotations

import hashlib
import os

from secure.protocols.core.channel import Payload

SALT_BYTES = 32


class Transcript:
    """Digests of inputs and of answers, apart, so that a client can show one and keep the other.

    Each is SHA-256(salt, SHA-256 of the messages, each after its length). A party draws the salts and tells the client
    alone: a digest of a short answer without one would tell it to whoever tries all answers.
    """

    def __init__(self) -> None:
        self._inputs, self._answers = hashlib.sha256(), hashlib.sha256()

    def came_in(self, message: Payload) -> None:
        """The client's next message."""
        _add(self._inputs, message)

    def went_out(self, message: Payload) -> None:
        """The party's next message."""
        _add(self._answers, message)

    def digests(self, input_salt: bytes, answer_salt: bytes) -> tuple[str, str]:
        """Both in hex: the digest of inputs, and that of answers."""
        return salted(input_salt, self._inputs.digest()), salted(answer_salt, self._answers.digest())


def new_salt() -> bytes:
    """A fresh salt, from the operating system's randomness."""
    return os.urandom(SALT_BYTES)


def _add(digest: hashlib._Hash, message: Payload) -> None:
    """A message after its length in 8 bytes, so that no two sequences of messages are the same bytes."""
    digest.update(len(message).to_bytes(8, "little"))
    digest.update(message)


def salted(salt: bytes, digest: bytes) -> str:
    """SHA-256 of both, in hex."""
    return hashlib.sha256(salt + digest).hexdigest()
