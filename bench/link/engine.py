"""The engine of parties that only talk: both send a message, then receive the other's, as a round does."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from bench.gate_engine import GateEngine
from secure.models.program import ClientSteps
from secure.parties.config import Limits
from secure.parties.roles.engine import Engine, MeterRows, Tools
from secure.parties.roles.party import PartyTools
from secure.protocols.core.channel import Channel
from secure.protocols.core.profile import Profile

_WARM_UP_ROUNDS = 50


@dataclass(frozen=True)
class TalkRequest:
    """Exchange messages of `message_bytes` each way, `rounds` times."""

    message_bytes: int
    rounds: int

    def to_json(self) -> str:
        """For the handshake."""
        return json.dumps(asdict(self))


class TalkEngine(GateEngine):
    """Predictions are rounds without anything to compute."""

    def predict(
        self, tools: Tools, model: object, request_json: str, client: ClientSteps, profile: Profile
    ) -> tuple[bool, MeterRows]:
        request = TalkRequest(**json.loads(request_json))
        client.receive(0)
        if not isinstance(tools, PartyTools):
            return False, []
        _talk(tools.peer, request.message_bytes, _WARM_UP_ROUNDS)
        row = _talk(tools.peer, request.message_bytes, request.rounds)
        client.send(b"")
        return False, [row]


def talk_engine(limits: Limits, device: str) -> Engine:
    """The engine of a process that computes nothing."""
    return TalkEngine()


def _talk(peer: Channel, message_bytes: int, rounds: int) -> dict[str, Any]:
    """Seconds of all rounds together: on the clock, of the process's processors, of this thread's."""
    message = bytes(message_bytes)
    clocks = time.perf_counter, time.process_time, time.thread_time
    began = [clock() for clock in clocks]
    for _ in range(rounds):
        peer.send(message)
        peer.receive()
    names = "seconds", "cpu_seconds", "thread_seconds"
    return {name: clock() - then for name, clock, then in zip(names, clocks, began, strict=True)}
