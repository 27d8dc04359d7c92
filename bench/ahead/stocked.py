"""Parties with a stock, whose logs tell when a deal was spent and when the own work for it is done."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path

from secure.parties.launcher import START_SECONDS, Launcher, free_addresses
from secure.parties.settings_file import settings_toml
from secure.parties.transport.certificates.making import make_certificates

COMPUTED = re.compile(r"deal (?P<deal>\S+): (?P<size>.+) computed ahead in (?P<seconds>[\d.]+) s")
SPENT = re.compile(r"deal (?P<deal>\S+) is spent after (?P<seconds>[\d.]+) s")


class Stocked(Launcher):
    """Three roles with settings in a folder that is empty, and a key in memory."""

    def __init__(self, folder: Path) -> None:
        make_certificates(folder / "certificates")
        config = folder / "parties.toml"
        text = settings_toml(free_addresses(), folder / "certificates")
        config.write_text(f"{text}\n[stock]\ndir = '{folder / 'stock'}'\nfallback = false\n", encoding="utf-8")
        self._lines: dict[str, list[str]] = {}
        self._heard = threading.Condition()
        super().__init__(config, stop_when_one_ends=False, log=self._hear)

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
            with self._heard:
                done = self._heard.wait_for(lambda role=role: self._worked(role) >= count, START_SECONDS)
            if not done:
                raise TimeoutError(f"{role} has worked ahead for fewer than {count} deals; see its log")

    def _worked(self, role: str) -> int:
        return sum(COMPUTED.search(line) is not None for line in self._lines.get(role, []))

    def _hear(self, role: str, line: str) -> None:
        with self._heard:
            self._lines.setdefault(role, []).append(line)
            self._heard.notify_all()
