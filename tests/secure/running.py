"""Real parties that several tests use, and what is left when they have gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from secure.connection import Parties
from secure.parties.client.client import Client
from secure.parties.config import PartiesSettings
from secure.parties.launcher import launch
from secure.protocols.families import family


@dataclass(frozen=True)
class Running:
    """Three processes over mutual TLS on this machine, started by the launcher."""

    parties: Parties
    settings: PartiesSettings
    idle_bytes: int
    """The peak of a party before its first model."""


@contextmanager
def running(protocol: str, folder: Path) -> Iterator[Running]:
    """Parties whose launcher makes its temporary folder in `folder`. In the end no process and no file is left."""
    roles: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr("tempfile.tempdir", str(folder))
        started = launch(protocol=protocol, log=lambda role, line: roles.add(role))
    with Parties(Client(started.settings), started.stop, protocol=protocol) as parties:
        processes = processes_with(str(folder))
        assert len(processes) == 3
        yield Running(parties, started.settings, max(peak_bytes(process) for process in processes))
    assert roles == set(family(protocol).roles), "each party logs"
    assert processes_with(str(folder)) == []
    assert list(folder.iterdir()) == []


def processes_with(argument: str) -> list[int]:
    """Ids of the running processes that have `argument` in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if argument.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended
    return found


def peak_bytes(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
