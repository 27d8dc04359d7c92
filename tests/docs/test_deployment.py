"""docs/deploy.md, followed to the letter: its commands, with a folder for each host and the loopback between them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from secure.parties.launcher import free_addresses
from tests.checkout import ROOT
from tests.docs.conftest import run_in_order, tiny_models
from tests.docs.pages import Block, blocks, read

PAGE = "docs/deploy.md"
FOLDER = "private"
"""Where commands run, in each host's home folder, as the page says."""
HOSTS = ("admin.example.org", "owner.example.org", "client.example.org")
PARTIES = {"p0": "p0.example.org:7100", "p1": "p1.example.net:7100", "dealer": "dealer.example.com:7100"}
SECONDS = 500.0
"""More than any command takes, on a busy machine too."""
BUSY = "[limits]\nrendezvous_seconds = 60.0\n"
"""What the settings have beside the page's, for parties that wait long for their turn on one machine."""
SCP = """#!/bin/sh
# Copies to a host's folder what would go to the host; the last argument is HOST:FOLDER.
set -e
for target; do :; done
folder="{root}/${{target%%:*}}/${{target#*:}}"
test -d "$folder"
while [ $# -gt 1 ]; do cp "$1" "$folder"; shift; done
"""
SECURE = """#!/bin/sh
exec "{python}" -P -m secure "$@"
"""

pytestmark = [pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(1800)]


def steps() -> list[Block]:
    """The shell blocks of the page's steps, which end where its second part begins."""
    end = read(PAGE).count("\n", 0, read(PAGE).index("\n## Many clients"))
    return [block for block in blocks(PAGE, "sh") if block.line < end]


class Machines:
    """The page's hosts as folders below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.parties: dict[subprocess.Popen[bytes], Path] = {}
        tools = root / "tools"
        tools.mkdir()
        for name, text in (("scp", SCP), ("secure", SECURE)):
            (tools / name).write_text(text.format(root=root, python=sys.executable), encoding="utf-8")
            (tools / name).chmod(0o700)
        self._environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def folder(self, host: str) -> Path:
        """Where a host's commands run."""
        return self.root / host / FOLDER

    def follow(self, line: str, host: str) -> None:
        """Run one line of the page on a host; a party goes on running."""
        home = self.root / host
        home.mkdir(exist_ok=True)
        folder = self.folder(host) if self.folder(host).is_dir() else home
        environment = self._environment | {"HOME": str(home)}
        if line.startswith("secure party"):
            with (folder / "party.log").open("w") as log:
                party = subprocess.Popen(line.split(), cwd=folder, env=environment, stderr=log)
            self.parties[party] = folder / "party.log"
            return
        done = subprocess.run(
            ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, f"{host}: {line}\n{done.stdout}{done.stderr}"

    def wait(self) -> None:
        """Return when every party has said that it listens."""
        deadline = time.monotonic() + SECONDS
        for party, log in self.parties.items():
            while "listening on" not in log.read_text(encoding="utf-8"):
                assert party.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
                time.sleep(0.1)

    def stop(self) -> None:
        """End every party."""
        for party in self.parties:
            party.terminate()
        for party in self.parties:
            party.wait(timeout=SECONDS)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    made = Machines(tmp_path)
    yield made
    made.stop()


def test_the_steps_lead_to_a_prediction(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install, *following = steps()
    for host in (*HOSTS, *(address.partition(":")[0] for address in PARTIES.values())):
        for line in install.code.splitlines():
            if line != "make install":
                machines.follow(line, host)
    settings = blocks(PAGE, "toml")[0].code
    for role, address in free_addresses().items():
        assert PARTIES[role] in settings
        settings = settings.replace(PARTIES[role], address)
    (machines.folder("admin.example.org") / "parties.toml").write_text(settings + BUSY, encoding="utf-8")
    tiny_models().save_classifier(machines.folder("owner.example.org") / "path/to/checkpoint")
    for block in following:
        host = ""
        for line in block.code.splitlines():
            if named := re.fullmatch(r"# on (\S+)", line):
                host = named[1]
            else:
                machines.follow(line, host)
        machines.wait()
    monkeypatch.chdir(machines.folder("client.example.org"))
    run_in_order([(block.where, block.code) for block in blocks(PAGE, "python")], {})
    assert capsys.readouterr().out.startswith("tensor(")
    for role, address in PARTIES.items():
        folder = machines.folder(address.partition(":")[0])
        assert names(folder / "certs") == {"authority.crt", f"{role}.crt", f"{role}.key"}
        assert names(folder / "shares") == {"manifest.json"} | ({f"{role}.safetensors"} - {"dealer.safetensors"})
    assert names(machines.folder("client.example.org") / "certs") == {"authority.crt", "client.crt", "client.key"}
    left = [path.name for host in HOSTS for path in machines.folder(host).rglob("*") if path.suffix != ".crt"]
    assert not {"p0.safetensors", "p1.safetensors", "p0.key", "p1.key", "dealer.key", "owner.key"} & set(left)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
