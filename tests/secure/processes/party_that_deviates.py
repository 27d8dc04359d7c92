"""A party as `python -m secure.parties` runs it, which changes one message on its way to the wire.

Beside its settings lies a file that says which: the evaluator or dealer, the number of the message, counted from the
next one on, and what becomes of it. A dealer changes it for both holders. It never complains about what it hears.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secure.parties.process.main import main
from secure.parties.process.model_engine import model_engine
from secure.parties.transport.link import GrpcChannel
from secure.protocols.core.channel import Payload
from secure.protocols.witnessed.witness import DIGEST_BYTES
from tests.protocols.witnessed.faults import CHANGES

MARKER = "deviation.json"


@contextmanager
def deviating(config: Path, role: str, message: int, byte: int = 0, change: str = "") -> Iterator[None]:
    """Inside the block a role of these settings changes that message. byte: whose last bit is turned, unless `change`
    names one of the changes that `tests.protocols.witnessed.faults` has."""
    marker = config.with_name(MARKER)
    marker.write_text(json.dumps({"role": role, "message": message, "byte": byte, "change": change}))
    try:
        yield
    finally:
        marker.unlink()


def deviate(role: str, marker: Path) -> None:
    """Replace what a channel sends and receives."""
    send, receive = GrpcChannel.send, GrpcChannel.receive
    due = {"p0": ("p1",), "p1": ("p2",), "p2": ("p0",)}.get(role, ("p1", "p2"))
    sent: dict[int, int] = {}
    before: dict[int, bytes] = {}
    digests: dict[int, bytes] = {}

    def sends(self: GrpcChannel, payload: Payload) -> None:
        digests[id(self)] = bytes(payload[:DIGEST_BYTES])
        last, before[id(self)] = before.get(id(self), b""), bytes(payload)
        if marker.exists() and self.peer in due:
            wanted = json.loads(marker.read_text())
            if wanted["role"] == role:
                number = sent[id(self)] = sent.get(id(self), -1) + 1
                if number == wanted["message"] and wanted["change"]:
                    payload = CHANGES[wanted["change"]](bytes(payload), last) or b""
                elif number == wanted["message"]:
                    raw = bytearray(payload)
                    raw[wanted["byte"] % len(raw)] ^= 1
                    payload = bytes(raw)
        send(self, payload)

    def receives(self: GrpcChannel) -> memoryview:
        message = bytes(receive(self))
        blind = marker.exists() and json.loads(marker.read_text())["role"] == role
        if blind and self.peer in ("p0", "p1", "p2") and id(self) in digests:
            message = digests[id(self)] + message[DIGEST_BYTES:]
        return memoryview(message)

    setattr(GrpcChannel, "send", sends)  # noqa: B010
    setattr(GrpcChannel, "receive", receives)  # noqa: B010


if __name__ == "__main__":
    deviate(sys.argv[1], Path(sys.argv[sys.argv.index("--config") + 1]).with_name(MARKER))
    sys.exit(main(sys.argv[1:], model_engine))
