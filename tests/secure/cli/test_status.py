"""`secure status` over roles that answer, and one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure.cli.main import app
from secure.cli.options import GlobalOptions
from secure.parties.client.status import RoleStatus
from secure.parties.launcher import free_addresses
from secure.parties.process.exit_codes import ExitCode
from secure.parties.settings_file import settings_toml

SAID: dict[str, Any] = {
    "version": "0.1.0",
    "state": "serving",
    "uptime_seconds": 7200.0,
    "clock_seconds": 0.0,
    "sessions": 3,
    "waiting": 1,
    "models": ["0123456789ab"],
    "stock": {"stock": 7, "spent": 2},
    "certificate_seconds_left": 10 * 86400,
    "last_failure": ["PartyLost", 42.0],
}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_row_for_each_role_and_a_code_for_one_that_is_missing(
    as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "parties.toml"
    path.write_text(settings_toml(free_addresses(), tmp_path))
    found = {"p0": RoleStatus(SAID, 0.25), "p1": RoleStatus(why_not="p1 did not answer")}
    monkeypatch.setattr("secure.parties.client.status.statuses", lambda settings: found)
    runner, arguments = CliRunner(env={"COLUMNS": "200"}), ["status", "--config", str(path)]
    ended = runner.invoke(app, [*arguments, "--json"] if as_json else arguments, obj=GlobalOptions())
    assert ended.exit_code == ExitCode.UNREACHABLE
    if as_json:
        rows = json.loads(ended.output)
        assert rows["p0"]["said"] == SAID and rows["p1"]["why_not"] == "p1 did not answer"
    else:
        row = " ".join(ended.output.split("\n")[1].split())
        assert row == "p0 serving 0.1.0 2.0 h 3 1 0123456789ab 7 10.0 days +0.2 s PartyLost, 42 s ago"
        assert "p1 did not answer" in ended.output
    del found["p1"]
    assert runner.invoke(app, arguments, obj=GlobalOptions()).exit_code == ExitCode.OK
