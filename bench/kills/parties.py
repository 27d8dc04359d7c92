"""Real parties with a stock whose keys this process holds, and whose managers start again whoever is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from bench.kills.supervisor import BEGINS, KILLED
from bench.stocked import StockedParties
from secure.protocols.families import DEFAULT

SERVES, COMPARED = "listening on", "stocks are compared: "
"""What parties say in their logs when they serve, and at p0 when both stocks agree again."""


class KeptParties(StockedParties):
    """All roles of a protocol. Of their logs it counts a few sentences."""

    def __init__(self, folder: Path, protocol: str = DEFAULT.name) -> None:
        self._said: dict[tuple[str, str], int] = {}
        self._numbers: dict[str, int] = {}
        patient = "[limits]\nrendezvous_seconds = 30.0"
        super().__init__(folder, protocol, held=True, settings=patient, module="bench.kills.supervisor")

    def kill(self, role: str) -> None:
        """Kill the process of a role that serves now."""
        os.kill(self._numbers[role], signal.SIGKILL)

    def times(self, role: str, words: str) -> int:
        """How often a role's log has said this."""
        with self._heard:
            return self._said.get((role, words), 0)

    def wait_until(self, role: str, words: str, times: int) -> None:
        """Wait until a role's log has said this so often. Raises TimeoutError, with the end of the log."""
        self.wait_for(lambda: self._said.get((role, words), 0) >= times, f"{role} did not say {words!r}", role)

    def note(self, role: str, line: str) -> None:
        if line.startswith(BEGINS):
            self._numbers[role] = int(line.removeprefix(BEGINS))
        for words in (KILLED, SERVES, COMPARED):
            if words in line:
                self._said[role, words] = self._said.get((role, words), 0) + 1
