"""The client of a session as one role sees it: the steps' inputs on its Run stream, and the way back."""

from __future__ import annotations

from secure.models.program import ClientSteps
from secure.parties.config import DEALERS
from secure.parties.session.session import Session
from secure.parties.transport.frames import DataFrame
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Frame
from secure.protocols.core.errors import ProtocolError


class RunSteps(ClientSteps):
    """Each message is one step's input; an End instead says that the client wants no more.

    The dealer begins when p0 and p1 have a first input coming. An empty message tells it to go on with one more step:
    the client sends it together with the input of the step before, so that the dealer works one step ahead and no
    further.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._at_dealer = session.role in DEALERS

    def receive(self, step: int) -> memoryview | None:
        session = self._session
        session.step = f"the input of step {step}" if step else "the input"
        session.watch_peers()
        if self._at_dealer:
            if step == 0:
                # All are heard, also after a no. Another dealer says nothing.
                words = [_is_wanted(link) for link in session.peers if link.peer not in DEALERS]
                return memoryview(b"") if all(words) else None
            message = session.run.receive()
        else:
            # The parties end the session for the dealer, too, which waits while they compute.
            with session.client_awaited():
                if step == 0:
                    session.ask_dealer(wanted=isinstance(session.run.peek(), DataFrame))
                message = session.run.receive()
        session.check()
        if not isinstance(message, Frame):
            session.transcript.came_in(message)
            return message
        if message.HasField("end"):
            return None
        raise ProtocolError(f"{session.run.peer} sent {message.WhichOneof('control')} where an input was due")

    def send(self, payload: bytes) -> None:
        self._session.check()
        self._session.transcript.went_out(payload)
        self._session.run.send_message(payload)


def _is_wanted(link: Link) -> bool:
    """What a party says of the client's first input. Raises ProtocolError when it says something else."""
    frame = link.next_frame()
    if not (isinstance(frame, Frame) and frame.HasField("join")):
        raise ProtocolError(f"{link.peer} sent something other than a Join before the first step")
    return frame.join.wanted
