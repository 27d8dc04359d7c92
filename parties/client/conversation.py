"""A session of several steps as the client sees it: inputs go out, outputs come back, the next input may use them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from secure.parties.client.receipt import SessionReceipt
from secure.parties.client.run import Progress, Run
from secure.parties.client.signatures import Witness, asked_of
from secure.parties.config import DEALERS
from secure.parties.roles.engine import MadeAhead
from secure.parties.transport.certificates.trust import Trust
from secure.parties.transport.wire_pb2 import Report
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.profile import NEAR
from secure.protocols.families import DEFAULT


@dataclass(frozen=True)
class RoleReport:
    """What one role did in a session. Bytes are payload on the wire, per peer, the dealer's seeds included."""

    role: str
    rows: list[dict[str, Any]]
    wire_bytes_sent: dict[str, int]
    wire_bytes_received: dict[str, int]
    messages: dict[str, int]
    """Logical messages sent, per peer."""
    seconds: float
    memory_bytes: int
    """What it set aside for the session: an upper estimate from shapes, which tells nothing of anybody else's work."""
    waiting_seconds: dict[str, float] = field(default_factory=dict)
    """How long it waited for messages, per peer."""
    cpu_seconds: float = 0.0
    """Processor time of the thread that computes."""
    deal: str = ""
    """Name of the deal from stock that the role spent; empty where the dealer was on line."""
    made_ahead: MadeAhead | None = None
    """What making the session's correlations took, where the parties do that themselves."""


@dataclass(frozen=True)
class Costs:
    """Every role's report, and the seconds from first frame to last.

    offline_seconds: where phases are measured apart, how long the dealer's work took before the input was sent.
    receipt: what all roles signed of the session; None where they are not processes with certificates.
    profile: the network profile by which the roles chose their gates. protocol: by which they computed.
    """

    reports: dict[str, RoleReport]
    seconds: float
    offline_seconds: float | None = None
    receipt: SessionReceipt | None = None
    profile: str = NEAR.name
    protocol: str = DEFAULT.name


class Conversation:
    """Made by `Client.converse`."""

    def __init__(
        self,
        run: Run,
        steps: int,
        progress: Callable[[Progress], None] | None,
        *,
        started: float,
        offline_first: bool,
        trust: Trust,
    ) -> None:
        """offline_first: phases are measured apart, so the dealer does all steps before the first input is sent.

        trust: whose certificates the roles sign the session's receipt with.
        """
        self._trust = trust
        self._witness = Witness(run.computing)
        self._costs: Costs | None = None
        self._offline_seconds: float | None = None
        self._run = run
        self._steps = steps
        self._step = 0
        self._progress = progress
        self._started = started
        self._dealt = 1  # steps that the dealer was told to deal; it begins with the first by itself
        if offline_first:
            self._deal(steps)
            run.wait_until_offline_is_done()
            self._offline_seconds = time.monotonic() - started
        run.listen()

    def step(self, payloads: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """The computing parties' payloads go out, and theirs come back. Raises the error that ends the session."""
        if self._step == self._steps:
            raise ProtocolError(f"the session has {self._steps} steps, all are done")
        for role, payload in zip(self._run.computing, payloads, strict=True):
            self._run.send(role, payload)
        self._step += 1
        self._deal(self._step + 1)
        if self._step == self._steps:
            self._run.finish()
        answers = self._run.answers(self._progress)
        self._witness.step(payloads, answers)
        return answers

    def end(self) -> None:
        """Wait until every role has ended, and keep what they report. Raises ReceiptRefused for what they signed."""
        if self._step < self._steps:
            for link in self._run.links.values():
                link.post_end()
        self._run.collect(self._progress)
        if set(self._run.reports) != set(self._run.links):
            raise ProtocolError("the session ended without a report from every role")
        if len({self._run.reports[role].deal for role in self._run.computing}) != 1:
            raise ProtocolError("the parties say that they spent different deals")
        seconds = time.monotonic() - self._started
        said = {role: self._run.reports[role] for role in self._run.links}
        signed = {role: report.signed for role, report in said.items()}
        receipt = self._witness.receipt(asked_of(self._run.hello), signed, self._trust)
        reports = {role: _role_report(role, report) for role, report in said.items()}
        self._costs = Costs(reports, seconds, self._offline_seconds, receipt, self._run.profile, self._run.hello.family)

    @property
    def costs(self) -> Costs:
        """What the whole session cost. Raises ProtocolError while it still runs."""
        if self._costs is None:
            raise ProtocolError("the session has not ended")
        return self._costs

    def _deal(self, steps: int) -> None:
        """Let each dealer, where there is one, go on until it has dealt so many steps."""
        dealers = [role for role in self._run.links if role in DEALERS]
        for _ in range(self._dealt, min(steps, self._steps) if dealers else 0):
            for role in dealers:
                self._run.send(role, b"")
            self._dealt += 1


def _role_report(role: str, frame: Report) -> RoleReport:
    return RoleReport(
        role=role,
        rows=json.loads(frame.rows_json),
        wire_bytes_sent=dict(frame.bytes_sent),
        wire_bytes_received=dict(frame.bytes_received),
        messages=dict(frame.messages_sent),
        seconds=frame.seconds,
        memory_bytes=frame.memory_bytes,
        waiting_seconds=dict(frame.waiting_seconds),
        cpu_seconds=frame.cpu_seconds,
        deal=frame.deal,
        made_ahead=_made_ahead(frame) if frame.HasField("making") else None,
    )


def _made_ahead(frame: Report) -> MadeAhead:
    making = frame.making
    return MadeAhead(making.from_stock, making.seconds, making.rounds, making.sent_bytes, making.kept_bytes)
