"""Whether two parties were given the same part of a client's input: digests that go ahead of a step's messages.

Each part is held by two parties. Both send the other a digest of it, HMAC-SHA256 under a key that follows from the seed
these two share in the session, so that the third party cannot compute it. It would not even see it: the digest passes
inside the TLS of the two. Where the parts are equal, the receiver could have computed what it receives, so the digest
tells it nothing. Where they differ, no answer is sent.

A digest is sent before a party computes, and compared when something else of that peer is due, or when outputs are
revealed: it costs bytes, and no round.
"""

from __future__ import annotations

import hashlib
import hmac

from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.errors import InputError

DIGEST_BYTES = 32
_DOMAIN = b"secure-inference input 1"


class ConfirmingChannel(Channel):
    """A channel to a peer that holds one part of each input, too."""

    def __init__(self, inner: Channel, seed: bytes, session: bytes, name: str) -> None:
        """seed: what this party and the peer share. name: this party's."""
        self.peer = inner.peer
        self._inner = inner
        self._key = hashlib.sha256(_DOMAIN + seed + session).digest()
        self._name = name
        self._steps = 0
        self._due: bytes | None = None

    def confirm(self, part: bytes | memoryview) -> None:
        """Send a digest of what the peer should have, too, at the beginning of a step."""
        self._due = hmac.digest(self._key, self._steps.to_bytes(8, "little") + part, "sha256")
        self._steps += 1
        self._inner.send(self._due)

    def settle(self) -> None:
        """Compare what the peer said of the step. Raises InputError where it was given something else."""
        due, self._due = self._due, None
        if due is not None and not hmac.compare_digest(self._inner.receive(), due):
            raise InputError(
                f"the client gave {self._name} and {self.peer} different shares of its input, where they must be "
                "equal; its answer is not sent"
            )

    def send(self, payload: Payload) -> None:
        self._inner.send(payload)

    def receive(self) -> memoryview:
        self.settle()
        return self._inner.receive()
