"""A protocol's servers inside the test process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from secure.parties.config import PartiesSettings
from secure.parties.process.server import PartyServer
from secure.parties.roles.engine import Engine
from secure.parties.session.tracing import SessionTracer
from tests.parties.fakes import FakeEngine


class LocalParties:
    """The parties as servers of this process; each can be stopped and started again."""

    def __init__(
        self,
        settings: PartiesSettings,
        own: Mapping[str, PartiesSettings] | None = None,
        engine: Engine | None = None,
        tracers: Mapping[str, SessionTracer] | None = None,
    ) -> None:
        """own: what single roles have in place of the settings, as each host has a file of its own."""
        self.settings = settings
        self.own = dict(own or {})
        self._tracers = dict(tracers or {})
        self.servers: dict[str, PartyServer] = {}
        for role in settings.parties:
            self.start(role, engine)

    def start(self, role: str, engine: Engine | None = None) -> None:
        settings, tracer = self.own.get(role, self.settings), self._tracers.get(role)
        self.servers[role] = PartyServer(settings, role, engine or FakeEngine(), tracer)
        self.servers[role].start()

    def stop(self, role: str) -> None:
        self.servers.pop(role).stop()

    def stop_all(self) -> None:
        for role in list(self.servers):
            self.stop(role)


def eventually(predicate: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until `predicate` holds. `seconds` is no measure of anything, but when to give up on a busy machine."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not predicate():
        assert time.monotonic() < deadline, "the condition did not come about"
        pause.wait(0.01)
