"""The three servers inside the test process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from secure.parties.config import PARTIES, PartiesSettings
from secure.parties.process.server import PartyServer
from secure.parties.roles.engine import Engine
from tests.parties.fakes import FakeEngine


class LocalParties:
    """p0, p1 and the dealer as servers of this process; each can be stopped and started again."""

    def __init__(self, settings: PartiesSettings) -> None:
        self.settings = settings
        self.servers: dict[str, PartyServer] = {}
        for role in PARTIES:
            self.start(role)

    def start(self, role: str, engine: Engine | None = None) -> None:
        self.servers[role] = PartyServer(self.settings, role, engine or FakeEngine())
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
