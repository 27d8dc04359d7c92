"""Starts a protocol's parties on this machine, waits for health, shows their logs, and leaves nothing behind."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.text import Text

from secure.models.storage import system
from secure.parties.client.client import Client
from secure.parties.config import CALLERS, PARTIES, EngineName, Measure, PartiesSettings, ProfileName
from secure.parties.process.exit_codes import ExitCode
from secure.parties.settings_file import load_settings, settings_toml
from secure.parties.transport.certificates.making import make_certificates
from secure.parties.transport.ports import check_free, port_in_use
from secure.protocols.core.errors import ConfigurationError, PartyUnreachable, PortInUse, SessionError
from secure.protocols.core.transfer import find_device
from secure.protocols.families import DEFAULT, family

START_SECONDS = 300.0
"""How long parties may take to serve: the first time each compiles its loops. One that ends is noticed at once."""
STOP_SECONDS = 5.0
_WAIT_SECONDS = 0.2
_PORT_ATTEMPTS = 5
_LOOPBACK = "127.0.0.1"
_COLOURS = {"p0": "cyan", "p1": "magenta", "p2": "yellow", "dealer": "yellow", "dealer2": "green"}

Log = Callable[[str, str], None]
"""Called with a role and one line of its log, from a thread of the launcher."""


def console_log(console: Console | None = None) -> Log:
    """A log that prints lines with the role's name in its colour, by default to standard error."""
    target = console or Console(stderr=True)

    def show(role: str, line: str) -> None:
        target.print(Text.assemble((f"{role:>6} │ ", _COLOURS.get(role, "white")), line), soft_wrap=True)

    return show


def launch(
    config: Path | None = None,
    *,
    protocol: str = DEFAULT.name,
    log: Log | None = None,
    module: str = "secure.parties",
    measure: Measure | None = None,
    models_dir: Path | None = None,
    prefixes: Mapping[str, Sequence[str]] | None = None,
    memory_bytes: int | None = None,
    device: str | None = None,
    profile: ProfileName = PartiesSettings.profile,
    engine: EngineName | None = None,
) -> Launcher:
    """Start the protocol's parties, and return when all of them serve.

    Args:
        config: a parties.toml whose addresses are this machine's; None takes free ports and fresh certificates in a
            private temporary folder, which is removed at the end.
        protocol, measure, models_dir, profile, engine: the family of `secure.protocols.families`, what measurements
            change, the folder of models' shares, the network profile, and what protocol "hybrid" computes by, where
            `config` is None; a file says them itself.
        log: gets every line that a party logs; None drops them, except that the last ones go into errors.
        module: the program of a party, as for `python -m`.
        prefixes: role → words that its command begins with, for example to enter a network namespace.
        memory_bytes: what each party may take, as `secure.parties.config.Limits`; None leaves it to the settings.
        device: what each party computes on, as `secure.parties.config.PartySettings`; None leaves it to the settings.

    Raises ConfigurationError (a port in use, a wrong setting, no such device) and PartyUnreachable (a party that does
    not come up).
    """
    if device is not None:
        find_device(device)  # before processes are started that would find out one by one
    for attempt in range(_PORT_ATTEMPTS):
        launcher = Launcher(
            config,
            protocol=protocol,
            log=log,
            module=module,
            measure=measure,
            models_dir=models_dir,
            prefixes=prefixes,
            memory_bytes=memory_bytes,
            device=device,
            profile=profile,
            engine=engine,
        )
        try:
            launcher.start()
            return launcher
        except BaseException as error:
            launcher.stop()
            # Between finding a free port and binding it, somebody else may have taken it.
            if config is not None or not isinstance(error, PortInUse) or attempt + 1 == _PORT_ATTEMPTS:
                raise
    raise ConfigurationError("no free ports")


class Launcher:
    """A process per party. Use as a context manager, or call `stop`; they also end when this process does."""

    settings: PartiesSettings
    config: Path
    """The settings in use and the file that they stand in, once started."""

    def __init__(
        self,
        config: Path | None = None,
        *,
        protocol: str = DEFAULT.name,
        log: Log | None = None,
        module: str = "secure.parties",
        stop_when_one_ends: bool = True,
        measure: Measure | None = None,
        models_dir: Path | None = None,
        prefixes: Mapping[str, Sequence[str]] | None = None,
        memory_bytes: int | None = None,
        device: str | None = None,
        profile: ProfileName = PartiesSettings.profile,
        engine: EngineName | None = None,
    ) -> None:
        """Takes what `launch` takes. `stop_when_one_ends`: whether the death of one party stops the others."""
        self._stop_when_one_ends = stop_when_one_ends
        self._config = config
        self._roles = family(protocol).roles
        self._log = log or _drop
        self._module = module
        self._prefixes = prefixes or {}
        self._memory_bytes = memory_bytes
        self._device = device
        self._text = partial(
            settings_toml, measure=measure, protocol=protocol, models_dir=models_dir, profile=profile, engine=engine
        )
        self._temporary: Path | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: dict[str, threading.Thread] = {}
        self._last_lines: dict[str, list[str]] = {}
        self._failure: str | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the processes and wait until every one serves. After an error, call `stop`."""
        atexit.register(self.stop)
        self.config = (self._config or self._prepare()).resolve()
        self.settings = load_settings(self.config)
        for role, party in self.settings.parties.items():
            self.settings.device(role, self._device)  # refuses what no party of this protocol can compute on
            # Whoever serves there would pass for the party that fails to start. A prefix may lead to another network
            # namespace, whose addresses this process does not have: there the party alone can tell.
            if role not in self._prefixes:
                check_free(role, party.listen)
        for role in self.settings.parties:
            self._start(role, self.config)
        self._wait_until_healthy()
        if self._stop_when_one_ends:
            threading.Thread(target=self._watch, name="launcher", daemon=True).start()

    def restart(self, role: str) -> None:
        """Start `role` again after it ended, and wait until it serves."""
        if role not in self._processes or self._processes[role].poll() is None:
            raise ConfigurationError(f"{role} cannot be restarted: it has not been started, or it still runs")
        self._close_pipe(role)
        self._start(role, self.config)
        self._wait_until_healthy()

    def stop(self) -> None:
        """Stop every process and remove temporary files. Does nothing the second time."""
        self._stopping.set()
        with self._lock:
            atexit.unregister(self.stop)
            for process in self._processes.values():
                process.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            for process in self._processes.values():
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            for role in self._processes:
                self._close_pipe(role)
            for reader in self._readers.values():
                reader.join(STOP_SECONDS)
            self._processes.clear()
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)
                self._temporary = None

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Block until the parties stop; False after `timeout_seconds`. Raises SessionError when one died by itself."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        # A Ctrl-C that arrives just before a wait begins is handled only when the wait returns, so it has steps.
        while not (stopped := self._stopping.wait(_WAIT_SECONDS)):
            if deadline is not None and time.monotonic() > deadline:
                break
        if self._failure is not None:
            raise SessionError(self._failure)
        return stopped

    @property
    def process_ids(self) -> dict[str, int]:
        """Role → process id of the parties that were started and not yet stopped."""
        return {role: process.pid for role, process in self._processes.items()}

    @property
    def peak_memory_bytes(self) -> dict[str, int]:
        """Role → most memory that its process held so far, all sessions and models included."""
        return {role: system.peak_memory_bytes(number) for role, number in self.process_ids.items()}

    @property
    def processor_seconds(self) -> dict[str, float]:
        """Role → processor time that its process took so far, all threads and sessions included."""
        return {role: system.processor_seconds(number) for role, number in self.process_ids.items()}

    def __enter__(self) -> Launcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> Path:
        """Free ports and fresh certificates in a folder that only this user can read."""
        self._temporary = Path(tempfile.mkdtemp(prefix="secure-inference-"))
        certificates = self._temporary / "certificates"
        hosts = {role: [_LOOPBACK] for role in self._roles}
        make_certificates(certificates, hosts, days=30, roles=(*self._roles, *CALLERS))
        config = self._temporary / "parties.toml"
        config.write_text(self._text(free_addresses(self._roles), certificates), encoding="utf-8")
        return config

    def _start(self, role: str, config: Path) -> None:
        command = [*self._prefixes.get(role, ()), sys.executable, "-P", "-m", self._module, role]
        command += ["--config", str(config), "--parent-on-stdin"]
        if self._memory_bytes is not None:
            command += ["--memory-bytes", str(self._memory_bytes)]
        if self._device is not None:
            command += ["--device", self._device]
        if self._temporary is not None:
            command += ["--remove-if-orphaned", str(self._temporary)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(),
            # Ctrl-C reaches the launcher alone, which then stops the parties in order.
            start_new_session=True,
        )
        self._processes[role] = process
        self._last_lines[role] = []
        assert process.stderr is not None
        reader = threading.Thread(target=self._read_log, args=(role, process.stderr), name=f"log-{role}", daemon=True)
        reader.start()
        self._readers[role] = reader

    def _close_pipe(self, role: str) -> None:
        pipe = self._processes[role].stdin
        if pipe is not None:
            pipe.close()

    def _read_log(self, role: str, stream: IO[bytes]) -> None:
        lines = self._last_lines[role]
        with stream:
            for raw in stream:
                line = raw.decode(errors="replace").rstrip()
                lines.append(line)
                del lines[:-20]
                self._log(role, line)

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with Client(self.settings) as client:
            while True:
                health = client.health(timeout_seconds=0.5)
                for role, process in self._processes.items():
                    if process.poll() is not None:
                        raise self._start_error(role, process.returncode)
                missing = [role for role, answer in health.items() if answer != "serving"]
                if not missing:
                    return
                if time.monotonic() > deadline:
                    raise PartyUnreachable(missing[0], self.settings.parties[missing[0]].address, START_SECONDS)

    def _start_error(self, role: str, code: int) -> ConfigurationError:
        """What to raise when a party ended before it served."""
        self._readers[role].join(1.0)
        if code == ExitCode.PORT_IN_USE:
            return port_in_use(role, self.settings.parties[role].listen)
        lines = [f"{role} ended at its start with exit code {code}. The end of its log:", *self._last_lines[role]]
        return ConfigurationError("\n".join(lines))

    def _watch(self) -> None:
        """Thread: when one party dies the others are stopped too."""
        while not self._stopping.wait(0.2):
            for role, process in list(self._processes.items()):
                if process.poll() is not None:
                    ended = f"{role} ended by itself with exit code {process.returncode}"
                    self._failure = f"{ended}; the others were stopped"
                    self._log(role, self._failure)
                    self.stop()
                    return


def free_addresses(roles: Sequence[str] = PARTIES) -> dict[str, str]:
    """A free loopback port for every role. All are held at the same time, so that they differ."""
    with ExitStack() as stack:
        addresses = {}
        for role in roles:
            probe = stack.enter_context(socket.socket())
            probe.bind((_LOOPBACK, 0))
            addresses[role] = f"{_LOOPBACK}:{probe.getsockname()[1]}"
        return addresses


def _environment() -> dict[str, str]:
    """This process's environment, with our package's folder on the path: children find it installed or not."""
    package = find_spec("secure")
    assert package is not None and package.origin is not None
    folder = str(Path(package.origin).resolve().parent.parent)
    paths = [folder, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _drop(role: str, line: str) -> None:
    """Nobody listens to the log."""
