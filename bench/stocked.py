"""Parties with a stock, in a folder of their own, whose logs say what happens: whoever waits, waits for a line."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from bench.load.settings import write_settings
from secure.parties.launcher import START_SECONDS, Launcher
from secure.parties.stock.key import KEY_BYTES, sealed_memory
from secure.protocols.families import DEFAULT, family
from tests.secure.processes import with_key


class StockedParties(Launcher):
    """All roles of a protocol. Nothing stops the others when one ends."""

    def __init__(
        self,
        folder: Path,
        protocol: str = DEFAULT.name,
        *,
        held: bool = False,
        fallback: bool = False,
        settings: str = "",
        garbler: str = "",
        module: str = "secure.parties",
    ) -> None:
        """folder: an empty one. held: whether this process holds the stocks' keys, so that they outlive the parties;
        else they are in each party's memory. fallback: with nothing in stock, whether it is made or dealt on line.
        settings: more of `parties.toml`. garbler: as there, or what is the default there. module: what each party runs.
        """
        roles = family(protocol).roles
        chosen = f"garbler = '{garbler}'\n" if garbler else ""
        key, falls_back = "systemd" if held else "memory", str(fallback).lower()
        stock = f"[stock]\ndir = '{folder / 'stock'}'\nkey = '{key}'\nfallback = {falls_back}\n"
        config = write_settings(folder, protocol, first=chosen, more=f"{settings}\n{stock}")
        self._heard = threading.Condition()
        self._keys = {role: sealed_memory(os.urandom(KEY_BYTES)) for role in roles if held}
        program = str(Path(with_key.__file__).resolve())
        prefixes = {
            role: (sys.executable, program, f"/proc/{os.getpid()}/fd/{key}") for role, key in self._keys.items()
        }
        super().__init__(config, module=module, prefixes=prefixes, stop_when_one_ends=False, log=self._hear)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        for key in self._keys.values():
            os.close(key)

    def note(self, role: str, line: str) -> None:
        """A line of a role's log. It is called with the lock held that `wait_for` waits with."""

    def wait_for(self, happened: Callable[[], bool], what: str, role: str) -> None:
        """Wait until lines of logs made it happen. Raises TimeoutError, with the end of the role's log."""
        with self._heard:
            if not self._heard.wait_for(happened, START_SECONDS):
                log = "\n".join(self._last_lines[role])
                raise TimeoutError(f"{what} for {START_SECONDS:.0f} s. The end of {role}'s log:\n{log}")

    def _hear(self, role: str, line: str) -> None:
        with self._heard:
            self.note(role, line)
            self._heard.notify_all()
