"""What is put into a party's process: it records what it sends, and dies at the point that a file names.

What is recorded is the traffic itself: before a first masked message goes to the peer, a line with the deal's name, the
session and the message's hash is written. The ledger has no part in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secure.parties.roles.hybrid.role import OneOfTwo
from secure.parties.roles.hybrid.tools import MakingTools
from secure.parties.roles.party import ComputingRole
from secure.parties.roles.role import StockedRole
from secure.parties.roles.witnessed import EvaluatingRole, EvaluatorTools
from secure.parties.session.session import Session
from secure.parties.stock.ledger import Ledger
from secure.parties.stock.store import Deal, Store
from secure.parties.stock.tape import TapeWriter
from secure.protocols.core.channel import Channel, Payload

METHODS: dict[str, tuple[type, str]] = {
    "spending": (Ledger, "spend_oldest"),
    "spending by name": (Ledger, "spend"),
    "opening the tape": (Store, "_opened"),
    "meeting": (StockedRole, "meet"),
    "meeting both": (StockedRole, "meet_in_circle"),
    "making": (MakingTools, "protocol"),
    "taking in": (Ledger, "begin"),
    "closing the tape": (TapeWriter, "close"),
    "stocking": (Ledger, "stocked"),
}
POINTS = {
    "p0": ("spending", "opening the tape", "meeting", "sending", "taking in", "stocking"),
    "p1": ("spending by name", "opening the tape", "meeting", "sending", "taking in", "closing the tape", "stocking"),
}
"""Each has a moment before and one after it."""
FILLING = ("taking in", "making", "closing the tape", "stocking")


def die_at(point: str, marker: Path) -> None:
    """End this process where the marker names that point. The marker is gone first, so that it dies once."""
    if marker.exists() and marker.read_text(encoding="utf-8") == point:
        marker.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def marked(point: str, method: Callable[..., Any], marker: Path) -> Callable[..., Any]:
    """The method, with a point before and one after it."""

    def called(*arguments: Any, **keywords: Any) -> Any:
        die_at(f"before {point}", marker)
        result = method(*arguments, **keywords)
        die_at(f"after {point}", marker)
        return result

    return called


class Recording(Channel):
    """The way to the party that hears masked values; the first message of a session is written down before it goes."""

    def __init__(self, inner: Channel, deal: str, session: str, log: Path, marker: Path) -> None:
        self.peer = inner.peer
        self._inner = inner
        self._line: dict[str, str] | None = {"deal": deal, "session": session}
        self._log = log
        self._marker = marker

    def send(self, payload: Payload) -> None:
        line, self._line = self._line, None
        if line is None:
            self._inner.send(payload)
            return
        die_at("before sending", self._marker)
        line["sha256"] = hashlib.sha256(payload).hexdigest()
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._inner.send(payload)
        die_at("after sending", self._marker)

    def receive(self) -> memoryview:
        return self._inner.receive()


def prepare(role: str, folder: Path) -> None:
    """Put the points and the recording into this process. folder: where the marker and the record of a role lie."""
    marker, log = folder / f"{role}.kill", folder / f"{role}.sent"
    for point, (home, name) in METHODS.items():
        setattr(home, name, marked(point, getattr(home, name), marker))
    for kind in (ComputingRole, OneOfTwo, EvaluatingRole):
        kind.join = _recorded(kind.join, log, marker)  # type: ignore[method-assign]


def _recorded(join: Callable[..., Any], log: Path, marker: Path) -> Callable[..., Any]:
    """How a role joins, with the way to its peer recorded where it takes a deal from stock."""

    def recorded(self: StockedRole, session: Session, deal: Deal | None = None) -> Any:
        tools = join(self, session, deal)
        if not session.hello.deal:
            return tools
        of = session.hello.deal, session.id, log, marker
        if isinstance(tools, EvaluatorTools):
            return dataclasses.replace(tools, to_next=Recording(tools.to_next, *of))
        return dataclasses.replace(tools, peer=Recording(tools.peer, *of))

    return recorded
