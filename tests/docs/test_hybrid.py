"""docs/hybrid.md, followed to the letter: its commands and code, with a folder for each of both hosts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from secure.parties.launcher import free_addresses
from tests.docs.pages import blocks
from tests.docs.test_deployment import BUSY, Machines, names

pytest.importorskip("tenseal")

PAGE = "docs/hybrid.md"
OWNER, CLIENT = "owner.example.net", "client.example.org"
ADDRESSES = {"p0": f"{CLIENT}:7100", "p1": f"{OWNER}:7100"}

pytestmark = [pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(1800)]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    made = Machines(tmp_path)
    yield made
    made.stop()


def follow(machines: Machines, code: str) -> None:
    """Run a shell block of the page, each line on the host that stands above it."""
    host = ""
    for line in code.splitlines():
        if named := re.fullmatch(r"# on (\S+)", line):
            host = named[1]
        else:
            machines.follow(line, host)
    machines.wait()


def test_the_page(machines: Machines, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    alone, splitting, predicting = (compile(each.code, each.where, "exec") for each in blocks(PAGE, "python"))
    folders, certificates, sending, starting, ahead = (each.code for each in blocks(PAGE, "sh"))
    exec(alone, {})
    said = capsys.readouterr().out
    assert "made on demand, in this call" in said and float(re.findall(r"tensor\(([^,)]*)", said)[-1]) < 1e-3
    follow(machines, folders)
    follow(machines, certificates)
    settings = blocks(PAGE, "toml")[0].code
    for role, address in free_addresses(("p0", "p1")).items():
        assert ADDRESSES[role] in settings
        settings = settings.replace(ADDRESSES[role], address)
    for host in (OWNER, CLIENT):
        (machines.folder(host) / "parties.toml").write_text(settings + BUSY, encoding="utf-8")
    monkeypatch.chdir(machines.folder(OWNER))
    exec(splitting, {})
    for code in (sending, starting):
        follow(machines, code)
    monkeypatch.chdir(machines.folder(CLIENT))
    exec(predicting, {})
    assert "taken from stock" in capsys.readouterr().out
    follow(machines, ahead)
    assert names(machines.folder(OWNER) / "certs") == {"authority.crt", "p1.crt", "p1.key"}
    assert "p1.safetensors" not in {path.name for path in machines.folder(CLIENT).rglob("*")}
    assert os.path.getsize("shares/p0.safetensors") < 1000, "it holds no weight"
