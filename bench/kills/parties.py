"""Real parties with a stock whose keys this process holds, and whose managers start again whoever is killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from bench.kills.supervisor import BEGINS, KILLED
from secure.parties.config import CALLERS
from secure.parties.launcher import START_SECONDS, Launcher, free_addresses
from secure.parties.settings_file import settings_toml
from secure.parties.stock.key import sealed_memory
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.families import DEFAULT, family
from tests.secure.processes import with_key

SERVES, COMPARED = "listening on", "stocks are compared: "
"""What parties say in their logs when they serve, and at p0 when both stocks agree again."""


class KeptParties(Launcher):
    """All roles of a protocol, in an empty folder. Their logs say what happens; whoever waits, waits for a line."""

    def __init__(self, folder: Path, protocol: str = DEFAULT.name) -> None:
        roles = family(protocol).roles
        make_certificates(folder / "certificates", roles=(*roles, *CALLERS))
        config = folder / "parties.toml"
        text = settings_toml(free_addresses(roles), folder / "certificates", protocol=protocol)
        stock = f"[stock]\ndir = '{folder / 'stock'}'\nkey = 'systemd'\nfallback = false\n"
        config.write_text(f"{text}\n[limits]\nrendezvous_seconds = 30.0\n{stock}", encoding="utf-8")
        self._keys = {role: sealed_memory(os.urandom(32)) for role in roles}
        self._said: dict[tuple[str, str], int] = {}
        self._numbers: dict[str, int] = {}
        self._heard = threading.Condition()
        program = str(Path(with_key.__file__).resolve())
        super().__init__(
            config,
            module="bench.kills.supervisor",
            prefixes={
                role: (sys.executable, program, f"/proc/{os.getpid()}/fd/{key}") for role, key in self._keys.items()
            },
            stop_when_one_ends=False,
            log=self._hear,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        for key in self._keys.values():
            os.close(key)

    def kill(self, role: str) -> None:
        """Kill the process of a role that serves now."""
        os.kill(self._numbers[role], signal.SIGKILL)

    def times(self, role: str, words: str) -> int:
        """How often a role's log has said this."""
        with self._heard:
            return self._said.get((role, words), 0)

    def wait_until(self, role: str, words: str, times: int) -> None:
        """Wait until a role's log has said this so often. Raises TimeoutError, with the end of the log."""
        self._wait(lambda: self._said.get((role, words), 0) >= times, f"{role} did not say {words!r}", role)

    def _wait(self, happened: Callable[[], bool], what: str, role: str) -> None:
        with self._heard:
            if not self._heard.wait_for(happened, START_SECONDS):
                log = "\n".join(self._last_lines[role])
                raise TimeoutError(f"{what} for {START_SECONDS:.0f} s. The end of its log:\n{log}")

    def _hear(self, role: str, line: str) -> None:
        with self._heard:
            if line.startswith(BEGINS):
                self._numbers[role] = int(line.removeprefix(BEGINS))
            for words in (KILLED, SERVES, COMPARED):
                if words in line:
                    self._said[role, words] = self._said.get((role, words), 0) + 1
            self._heard.notify_all()
