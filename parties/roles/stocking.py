"""The computing parties take in what the dealer deals ahead: all but p0 seeds and the tape, then p0 its seeds.

A party says Stored when the deal is on its disk and in its ledger. The dealer turns to p0 only when all others have
said so. Hence they have whatever p0 has; what they alone have, after somebody died in between, the next comparison
burns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from secure.parties.roles.role import receive_seed
from secure.parties.roles.store import ModelStore
from secure.parties.session.handshake import as_role, check_session_id
from secure.parties.stock.binding import Binding, shape_of, short_name
from secure.parties.stock.store import Store
from secure.parties.stock.tape import TapeWriter
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Accept, Frame, Hello, Stored
from secure.protocols.core.errors import HandshakeError, ModelNotLoaded, ProtocolError, SecureInferenceError
from secure.protocols.families import family

_LOG = logging.getLogger("parties")


def take_in(
    link: Link,
    hello: Hello,
    role: str,
    store: Store,
    models: ModelStore,
    expect: Callable[[Binding, str], None],
) -> None:
    """One deal on its stream, or the question how many there are. Raises what makes the party refuse it.

    expect: told what is in stock now, and of which request.
    """
    where = f"{role}, Stock"
    binding = Binding.of(hello)
    if models.load_id(hello.model_digest) != hello.load_id:
        raise ModelNotLoaded(f"{role} does not have the model {hello.model_digest[:12]} under the masks of this dealer")
    if not hello.deal:
        link.post(Frame(accept=Accept(hello=as_role(hello, role), in_stock=len(store.names(binding)))))
        return
    check_session_id(hello.deal, f"{where}, deal")
    if binding.request_digest != hello.request_digest:
        raise HandshakeError("SHA-256 of the request", binding.request_digest, hello.request_digest, where)
    has_tape = role != "p0"
    with store.unsettled(hello.deal):
        with store.room_for(hello.deal_bytes if has_tape else None) as room:
            link.post(Frame(accept=Accept(hello=as_role(hello, role))))
            seeds = b"".join(receive_seed(link) for _ in range(family(hello.family).sides))
            with store.filling(hello.deal, binding, shape_of(hello.request), seeds, room) as writer:
                _receive(link, writer)
        link.post(Frame(stored=Stored(deal=hello.deal)))
        _LOG.info("deal %s is in stock", short_name(hello.deal))
        expect(binding, hello.request)
        # The dealer ends its stream when all others have their part, too, or when that failed.
        with suppress(SecureInferenceError):
            link.next_frame()


def _receive(link: Link, writer: TapeWriter | None) -> None:
    """Messages, with a Progress before each step, until the dealer's End."""
    step = 0
    while True:
        message = link.receive()
        if isinstance(message, memoryview):
            if writer is None:
                raise ProtocolError("the dealer sends p0 its seeds and nothing else")
            writer.write(message, step)
        elif message.HasField("progress"):
            step = message.progress.index
        elif message.HasField("end"):
            return
        else:
            raise ProtocolError(f"the dealer sent {message.WhichOneof('control')} in the middle of a deal")
