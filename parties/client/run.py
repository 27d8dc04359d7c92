"""One session as the client sees it: a `Run` stream to each role, and whatever comes back on them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from secure.parties.client.root_cause import awaited, root_cause
from secure.parties.roles.role import OFFLINE_IS_DONE
from secure.parties.session.handshake import as_role, compare
from secure.parties.session.tracing import TRACE_KEY, SessionTrace
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.failures import failure_frame
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Accept, Frame, Hello, Report
from secure.protocols.core.channel import Payload
from secure.protocols.core.errors import (
    HandshakeError,
    PartyLost,
    PartyUnreachable,
    ProtocolError,
    SecureInferenceError,
)
from secure.protocols.core.family import Family

SILENCE_SECONDS = 10.0
"""How long to wait for the word of a role that another one has lost. The client's own stream to a role that is dead or
silent breaks within four seconds (`secure.parties.transport.dialer`); a role that lives says what it has lost itself.
"""


@dataclass(frozen=True)
class Progress:
    """`role` begins layer number `index`, called `layer`."""

    role: str
    layer: str
    index: int


class Run:
    """Context manager over the streams of one session; leaving it early cancels the session everywhere."""

    def __init__(self, dialer: Dialer, hello: Hello, family: Family, trace: SessionTrace | None = None) -> None:
        """Open the stream of every role at the same time. Raises what the first role to object reports.

        Where the client wants a deal from stock, the dealer is asked only when p0 has none.
        """
        self._trace = trace or SessionTrace()
        self.computing = family.computing
        self.profile = hello.profile
        self._dialer = dialer
        self.hello = hello
        self.links: dict[str, Link] = {}
        self.accepts: dict[str, Accept] = {}
        self.reports: dict[str, Report] = {}
        self._payloads: dict[str, list[bytes]] = {}
        self._running: set[str] = set()
        self._aware: set[str] = set()
        """Roles that need not be told the cause: they said it, or are not there."""
        self._cause: SecureInferenceError | None = None
        """Why the session ends early, where a role or a link said so."""
        self._layers: dict[str, str] = {}
        self._events: queue.SimpleQueue[tuple[str, Frame | memoryview | SecureInferenceError]] = queue.SimpleQueue()
        if not hello.from_stock:
            self._dial(dialer, hello, family.roles)
            return
        self._dial(dialer, hello, family.computing)
        if not self.accepts["p0"].hello.deal:
            self._dial(dialer, hello, [role for role in family.roles if role not in family.computing])

    def _dial(self, dialer: Dialer, hello: Hello, roles: Sequence[str]) -> None:
        failed: list[SecureInferenceError] = []
        with futures.ThreadPoolExecutor(max(1, len(roles))) as pool:
            known = ((TRACE_KEY, self._trace.context),) if self._trace.context else ()
            dialled = {role: pool.submit(dialer.dial, role, "Run", hello, metadata=known) for role in roles}
        for role, future in dialled.items():
            try:
                self.links[role], self.accepts[role] = future.result()
                self._check(role, dialer.role, hello, self.accepts[role].hello)
            except SecureInferenceError as error:
                failed.append(error)
        if failed:
            # That a role is missing may be why another one objects, not the other way round.
            self._cause = next((error for error in failed if isinstance(error, PartyUnreachable)), failed[0])
            self._give_up()
            self._trace.end(self._cause)
            raise self._cause

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._give_up()
        self._trace.end(error if isinstance(error, Exception) else None)

    def _give_up(self) -> None:
        """Drop every stream; each role then ends the session by itself.

        What a role or a link said is told to those that do not know it; what went wrong at the client is its own.
        """
        unaware = [role for role in self.links if role not in self._aware]
        if self._cause is not None and unaware:
            failure = failure_frame(self._cause, self._dialer.role, self._step_of("")())
            with futures.ThreadPoolExecutor(len(unaware)) as pool:
                for role in unaware:
                    pool.submit(self._dialer.tell, role, self.hello, failure)  # one that does not hear it is no matter
        for link in self.links.values():
            link.cancel()

    def send(self, role: str, message: Payload) -> None:
        """Queue one message. Where the stream is gone, what was read from all of them tells why, not this."""
        with suppress(PartyLost):
            self.links[role].send_message(message)

    def finish(self) -> None:
        """Say on every stream that the client sends no more."""
        for link in self.links.values():
            link.finish()

    def wait_until_offline_is_done(self) -> None:
        """Wait for p1's word that it has all that the dealer sends; before `listen`. Raises what p1 reports."""
        frame = self.links["p1"].next_frame()
        if not (isinstance(frame, Frame) and frame.progress.layer == OFFLINE_IS_DONE):
            raise ProtocolError("p1 does not measure phases apart; give all roles the same settings")

    def listen(self) -> None:
        """From here on everything that the roles send is read. Once, after the handshake."""
        self._running = set(self.links)
        for role, link in self.links.items():
            link.step = self._step_of(role)
            threading.Thread(target=self._read, args=(role, link), name=f"client-{role}", daemon=True).start()

    def answers(self, progress: Callable[[Progress], None] | None) -> tuple[bytes, ...]:
        """Wait for the next payload of each computing party. Raises the root cause when a role fails."""
        while not all(self._payloads.get(role) for role in self.computing):
            if not self._running:
                raise ProtocolError(f"the session ended without an output of {' and '.join(self.computing)}")
            self._take(progress)
        return tuple(self._payloads[role].pop(0) for role in self.computing)

    def collect(self, progress: Callable[[Progress], None] | None) -> None:
        """Wait until every role has ended. Raises the root cause when one of them fails."""
        while self._running:
            self._take(progress)

    def _take(self, progress: Callable[[Progress], None] | None) -> None:
        """Wait for one event, and note it."""
        role, event = self._events.get()
        if isinstance(event, SecureInferenceError):
            raise self._root_cause(role, event)
        if isinstance(event, memoryview):
            self._payloads.setdefault(role, []).append(bytes(event))
        elif event.HasField("progress"):
            if progress is not None:
                progress(Progress(role, event.progress.layer, event.progress.index))
        elif event.HasField("report"):
            self.reports[role] = event.report
        elif event.HasField("end"):
            self._running.discard(role)
        else:
            raise ProtocolError(f"{role} sent {event.WhichOneof('control')} in the middle of a session")

    def _check(self, role: str, caller: str, ours: Hello, theirs: Hello) -> None:
        expected = as_role(ours, caller)
        if role == "p0" and ours.from_stock:
            expected.deal = theirs.deal  # which it chooses
        compare(expected, theirs, f"{caller} with {role}")
        if theirs.role != role:
            raise HandshakeError("role", role, theirs.role, f"{caller} with {role}")

    def _read(self, role: str, link: Link) -> None:
        """Thread: hand everything that one role sends to the thread that collects."""
        try:
            while True:
                message = link.receive()
                if isinstance(message, Frame) and message.HasField("progress"):
                    # Noted here, not where it is shown: an error that follows must name this very layer.
                    self._layers[role] = message.progress.layer
                self._events.put((role, message))
                if isinstance(message, Frame) and message.HasField("end"):
                    return
        except SecureInferenceError as error:
            self._events.put((role, error))

    def _root_cause(self, role: str, error: SecureInferenceError) -> SecureInferenceError:
        """The cause behind the first error to arrive, after the word of whoever it blames."""
        broken: dict[str, SecureInferenceError] = {}
        reported: dict[str, SecureInferenceError] = {}
        deadline = time.monotonic() + SILENCE_SECONDS
        event: Frame | memoryview | SecureInferenceError = error
        with suppress(queue.Empty):
            while True:
                if isinstance(event, SecureInferenceError):
                    # Only the client's own link says 'I lost this very role'.
                    (broken if isinstance(event, PartyLost) and event.role == role else reported)[role] = event
                elif isinstance(event, Frame) and event.HasField("end"):
                    self._running.discard(role)
                if not awaited(broken, reported, self._running, self._dialer.role):
                    break
                role, event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
        self._cause = root_cause(broken, reported)
        self._aware = {*broken, *(role for role, said in reported.items() if str(said) == str(self._cause))}
        return self._cause

    def _step_of(self, role: str) -> Callable[[], str]:
        def step() -> str:
            # Computing parties run in lockstep; the dealer runs ahead, so it stands for itself only.
            known = [self._layers[other] for other in (role, *self.computing) if other in self._layers]
            return known[0] if known else "the start of the session"

        return step
