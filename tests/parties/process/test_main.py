"""A party's arguments change the settings' limits, for its engine and its server alike; how its process ends."""

from __future__ import annotations

import os
import resource
import signal
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from secure.parties.config import Limits, PartiesSettings
from secure.parties.launcher import free_addresses
from secure.parties.process.exit_codes import ExitCode
from secure.parties.process.main import Stopping, main, stop_on_signals
from secure.parties.roles.engine import Engine
from secure.parties.session.tracing import SessionTracer
from secure.parties.settings_file import settings_toml
from secure.protocols.core.errors import ConfigurationError
from tests.parties.fakes import FakeEngine


def test_arguments_change_the_limits_and_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "parties.toml"
    text = settings_toml(free_addresses(), tmp_path).replace("[p1]", 'device = "cuda:1"\n[p1]')
    path.write_text(text + "[limits]\nthreads = 2\nmemory_bytes = 7\n")
    found: list[Limits] = []
    devices: list[str] = []

    def engine(limits: Limits, device: str) -> Engine:
        found.append(limits)
        devices.append(device)
        return FakeEngine()

    def server(settings: PartiesSettings, role: str, engine: Engine, tracer: SessionTracer) -> NoReturn:
        found.append(settings.limits)
        raise ConfigurationError("enough")

    monkeypatch.setattr("secure.parties.process.main.PartyServer", server)
    for arguments in ([], ["--threads", "3"], ["--memory-bytes", "900"], ["--device", "cpu"]):
        assert main(["p0", "--config", str(path), *arguments], engine) == ExitCode.CONFIGURATION
    assert main(["p1", "--config", str(path)], engine) == ExitCode.CONFIGURATION
    assert devices == ["cuda:1", "cuda:1", "cuda:1", "cpu", "cpu"]
    as_written = Limits(2, memory_bytes=7)
    assert found[::2] == found[1::2]
    assert found[::2] == [as_written, Limits(3, memory_bytes=7), Limits(2, memory_bytes=900), as_written, as_written]
    # Nothing of what the process held may be in a core dump.
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


class Exited(Exception):
    """In place of the process's end."""


@pytest.mark.parametrize("sessions", [0, 1])
def test_a_process_that_still_computes_ends_without_the_interpreter(
    sessions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Server:
        def __init__(self, settings: PartiesSettings, role: str, engine: Engine, tracer: SessionTracer) -> None:
            self.sessions = 1

        def start(self) -> None: ...

        def drain(self, at_once: threading.Event) -> None:
            assert not at_once.is_set()

        def stop(self) -> None:
            self.sessions = sessions

    def leave(code: int) -> NoReturn:
        assert code == ExitCode.OK
        raise Exited

    path = tmp_path / "parties.toml"
    path.write_text(settings_toml(free_addresses(), tmp_path))
    monkeypatch.setattr("secure.parties.process.main.PartyServer", Server)
    monkeypatch.setattr("secure.parties.process.main.wait_until_set", lambda stopping: None)
    monkeypatch.setattr(os, "_exit", leave)
    arguments = ["p0", "--config", str(path)]
    if sessions:
        with pytest.raises(Exited):
            main(arguments, lambda limits, device: FakeEngine())
    else:
        assert main(arguments, lambda limits, device: FakeEngine()) == ExitCode.OK


def test_a_second_signal_is_told_from_the_first() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        stopping = stop_on_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.wait(60) and not stopping.again.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping.again.wait(60)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_a_launchers_party_does_not_wait_for_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its launcher stops all parties, and waits for them."""
    drained: list[bool] = []

    class Server:
        sessions = 1

        def __init__(self, settings: PartiesSettings, role: str, engine: Engine, tracer: SessionTracer) -> None: ...

        def start(self) -> None: ...

        def drain(self, at_once: threading.Event) -> None:
            drained.append(True)

        def stop(self) -> None:
            self.sessions = 0

    path = tmp_path / "parties.toml"
    path.write_text(settings_toml(free_addresses(), tmp_path))
    monkeypatch.setattr("secure.parties.process.main.PartyServer", Server)
    monkeypatch.setattr("secure.parties.process.main.wait_until_set", lambda stopping: None)
    monkeypatch.setattr("secure.parties.process.main.stop_on_signals", lambda parent, temporary: Stopping())
    for arguments, due in ((["--parent-on-stdin"], []), ([], [True])):
        assert main(["p0", "--config", str(path), *arguments], lambda limits, device: FakeEngine()) == ExitCode.OK
        assert drained == due
