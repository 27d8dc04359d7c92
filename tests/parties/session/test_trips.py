"""How often a session waits for the way between two machines, counted and not timed.

Every role has a clock that counts one-way trips (Lamport, CACM 1978): a frame carries its sender's count, and whoever
reads it has at least one more. What the client has at the end is the longest chain of messages of which each waits for
the one before: what a session takes where all machines are equally far apart, and nothing else takes time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from secure.models.latency import SESSION_TRIPS
from secure.parties.client.client import Client
from secure.parties.config import CALLERS, PartiesSettings, PartySettings
from secure.parties.launcher import free_addresses
from secure.parties.process.door import Door
from secure.parties.roles.role import Role
from secure.parties.session.session import Session
from secure.parties.transport.certificates.making import make_certificates
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.frames import AnyFrame
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Frame
from secure.protocols.families import FAMILIES, family
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties

LAYERS = 7


@dataclass
class Clocks:
    """The count of every role, and of every frame, by sender and receiver. One session at a time.

    A thread that dials while its session meets others has a count of its own, which joins at the end.
    """

    counts: dict[str, int] = field(default_factory=dict)
    frames: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    apart: threading.local = field(default_factory=threading.local)

    def now(self, role: str) -> int:
        with self.lock:
            return self.counts.get(self._name(role), 0)

    def sent(self, sender: str, receiver: str, frame: Frame | None = None) -> None:
        # A client opens all its streams at once, each in a thread.
        begins = sender == "client" and frame is not None and frame.HasField("hello")
        with self.lock:
            self.frames.setdefault((sender, receiver), []).append(
                0 if begins else self.counts.get(self._name(sender), 0)
            )

    def of_frame(self, sender: str, receiver: str, number: int) -> int:
        with self.lock:
            return self.frames[sender, receiver][number] + 1

    def came(self, role: str, count: int) -> None:
        with self.lock:
            name = self._name(role)
            self.counts[name] = max(self.counts.get(name, 0), count)

    def _name(self, role: str) -> str:
        return getattr(self.apart, "name", role)

    def reset(self) -> None:
        with self.lock:
            self.counts.clear()
            self.frames.clear()


def counted(clocks: Clocks, owner: str, link: Link, *, held: bool) -> Link:
    """The link, whose frames count. held: its Hello counts for its session when that claims the link, and not before.

    What a frame's sender knew is asked when the frame is read, so both ends are of this process.
    """
    post, send, peek, next_frame = link.post, link.send_message, link.peek, link.next_frame
    read: list[int] = []

    def posted(frame: Frame) -> None:
        clocks.sent(owner, link.peer, frame)
        post(frame)

    def sent(payload: Any) -> None:
        clocks.sent(owner, link.peer)
        send(payload)

    def count() -> int:
        return clocks.of_frame(link.peer, owner, len(read))

    def peeked() -> AnyFrame:
        frame = peek()
        clocks.came(owner, count())
        return frame

    def came() -> AnyFrame:
        frame = next_frame()
        first, now = not read, count()
        read.append(now)
        # A client reads of layers while it sends; nothing that it does depends on them.
        if not (held and first) and not (isinstance(frame, Frame) and frame.HasField("progress")):
            clocks.came(owner, now)
        return frame

    link.post, link.send_message, link.peek, link.next_frame = posted, sent, peeked, came  # type: ignore[method-assign]
    link.hello_count = lambda: read[0] if held else 0  # type: ignore[attr-defined]
    return link


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    found = Clocks()
    dialled, accepted, attach, beside = Dialer._open, Door.link, Session.attach, Role.meanwhile

    def opened(dialer: Dialer, *arguments: Any) -> Link:
        return counted(found, dialer.role, dialled(dialer, *arguments), held=False)

    def answered(door: Door, peer: str, *arguments: Any) -> Link:
        return counted(found, door._role, accepted(door, peer, *arguments), held=peer != "client")

    def attached(session: Session, link: Link) -> None:
        found.came(session.role, link.hello_count())  # type: ignore[attr-defined]
        attach(session, link)

    @contextmanager
    def meanwhile(role: Role, session: Session, dial: Callable[[], Link]) -> Iterator[Future[Link]]:
        before, after = found.now(role.name), list[int]()

        def dialling() -> Link:
            found.apart.name = f"{role.name} in {threading.current_thread().ident}"
            found.came(role.name, before)
            link = dial()
            after.append(found.now(role.name))
            return link

        with beside(role, session, dialling) as dialled:
            yield dialled
        found.came(role.name, after[0])

    monkeypatch.setattr(Role, "meanwhile", meanwhile)
    monkeypatch.setattr(Dialer, "_open", opened)
    monkeypatch.setattr(Door, "link", answered)
    monkeypatch.setattr(Session, "attach", attached)
    return found


@pytest.fixture(params=[name for name in FAMILIES if name != "hybrid"])  # whose parties make what they need meanwhile
def connected(request: pytest.FixtureRequest, tmp_path: Path, clocks: Clocks) -> Iterator[Client]:
    roles = family(request.param).roles
    addresses, certificates = free_addresses(roles), tmp_path / "certificates"
    make_certificates(certificates, roles=(*roles, *CALLERS))
    parties = {role: PartySettings(addresses[role], addresses[role]) for role in roles}
    settings = PartiesSettings(parties, certificates, protocol=request.param)
    local = LocalParties(settings)
    with Client(settings) as client:
        yield client
    local.stop_all()


def test_a_session_has_as_many_trips_beside_its_rounds_as_are_said(
    connected: Client, tmp_path: Path, clocks: Clocks
) -> None:
    manifest, found = FakeManifest(), connected.settings.family
    shares = {role: tmp_path / f"{role}.share" for role in found.computing}
    for path in shares.values():
        path.write_bytes(b"abc")
    connected.load_model(manifest, shares)
    clocks.reset()
    payloads = tuple(role.encode() for role in found.computing)
    connected.predict(manifest.digest, manifest.policy.digest(), FakeRequest(layers=LAYERS), payloads)
    assert clocks.counts["client"] == SESSION_TRIPS[found.name] + LAYERS
