"""Parties with a stock, whose logs tell when a deal was spent and when the own work for it is done."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from bench.stocked import StockedParties
from secure.parties.launcher import START_SECONDS

COMPUTED = re.compile(r"deal (?P<deal>\S+): (?P<size>.+) computed ahead in (?P<seconds>[\d.]+) s")
TAKEN_UP = re.compile(r"model \S+ is taken up again after (?P<seconds>[\d.]+) s")
SPENT = re.compile(r"deal (?P<deal>\S+) is spent after (?P<seconds>[\d.]+) s")


class Stocked(StockedParties):
    """Two parties and a dealer. Their keys are in their memory, or held by this process."""

    def __init__(self, folder: Path, *, held: bool = False) -> None:
        self._lines: dict[str, list[str]] = {}
        super().__init__(folder, held=held)

    def kill(self, role: str) -> None:
        """Kill a role's process, and wait until it is gone."""
        process = self._processes[role]
        process.kill()
        process.wait(START_SECONDS)

    def stop_dealer(self) -> None:
        """End the dealer's process, and wait until it is gone."""
        process = self._processes["dealer"]
        process.send_signal(signal.SIGTERM)
        process.wait(START_SECONDS)

    def seconds(self, role: str, what: re.Pattern[str]) -> list[float]:
        """What a role has said of this, in order."""
        with self._heard:
            found = [what.search(line) for line in self._lines.get(role, [])]
        return [float(match["seconds"]) for match in found if match is not None]

    def wait_for_own_work(self, count: int) -> None:
        """Wait until both parties have worked ahead for so many deals. Raises TimeoutError."""
        for role in ("p0", "p1"):
            few = f"{role} has worked ahead for fewer than {count} deals"
            self.wait_for(lambda role=role: self._worked(role) >= count, few, role)

    def note(self, role: str, line: str) -> None:
        self._lines.setdefault(role, []).append(line)

    def _worked(self, role: str) -> int:
        return sum(COMPUTED.search(line) is not None for line in self._lines.get(role, []))
