"""Parties with a stock, whose logs tell when a deal was spent and when the own work for it is done."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from pathlib import Path
from types import TracebackType

from secure.parties.config import PARTIES
from secure.parties.launcher import START_SECONDS, Launcher, free_addresses
from secure.parties.settings_file import settings_toml
from secure.parties.stock.key import KEY_BYTES, sealed_memory
from secure.parties.transport.certificates.making import make_certificates
from tests.secure.processes import with_key

COMPUTED = re.compile(r"deal (?P<deal>\S+): (?P<size>.+) computed ahead in (?P<seconds>[\d.]+) s")
TAKEN_UP = re.compile(r"model \S+ is taken up again after (?P<seconds>[\d.]+) s")
SPENT = re.compile(r"deal (?P<deal>\S+) is spent after (?P<seconds>[\d.]+) s")


class Stocked(Launcher):
    """Three roles with settings in a folder that is empty. Their keys are in their memory, or held by this process."""

    def __init__(self, folder: Path, *, held: bool = False) -> None:
        make_certificates(folder / "certificates")
        config = folder / "parties.toml"
        text = settings_toml(free_addresses(), folder / "certificates")
        stock = f"[stock]\ndir = '{folder / 'stock'}'\nkey = '{'systemd' if held else 'memory'}'\nfallback = false\n"
        config.write_text(f"{text}\n{stock}", encoding="utf-8")
        self._lines: dict[str, list[str]] = {}
        self._heard = threading.Condition()
        self._keys = {role: sealed_memory(os.urandom(KEY_BYTES)) for role in PARTIES if held}
        program = str(Path(with_key.__file__).resolve())
        prefixes = {
            role: (sys.executable, program, f"/proc/{os.getpid()}/fd/{key}") for role, key in self._keys.items()
        }
        super().__init__(config, prefixes=prefixes, stop_when_one_ends=False, log=self._hear)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        for key in self._keys.values():
            os.close(key)

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
