"""A party's arguments change the settings' limits, for its engine and its server alike."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from parties.config import Limits, PartiesSettings, settings_toml
from parties.engine import Engine
from parties.exit_codes import ExitCode
from parties.launcher import free_addresses
from parties.main import main
from protocols.core.errors import ConfigurationError
from tests.parties.fakes import FakeEngine


def test_arguments_change_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "parties.toml"
    path.write_text(settings_toml(free_addresses(), tmp_path) + "[limits]\nthreads = 2\nmemory_bytes = 7\n")
    found: list[Limits] = []

    def engine(limits: Limits) -> Engine:
        found.append(limits)
        return FakeEngine()

    def server(settings: PartiesSettings, role: str, engine: Engine) -> NoReturn:
        found.append(settings.limits)
        raise ConfigurationError("enough")

    monkeypatch.setattr("parties.main.PartyServer", server)
    for arguments in ([], ["--threads", "3"], ["--memory-bytes", "900"]):
        assert main(["p0", "--config", str(path), *arguments], engine) == ExitCode.CONFIGURATION
    assert (
        found[::2] == found[1::2] == [Limits(2, memory_bytes=7), Limits(3, memory_bytes=7), Limits(2, memory_bytes=900)]
    )
