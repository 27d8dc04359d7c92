"""docs/certificates.md, followed to the letter: its commands, with a folder for each host."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure.cli import main
from secure.parties.transport.certificates.authority import Authority, issued
from secure.parties.transport.certificates.own import check_certificates
from secure.parties.transport.certificates.requesting import install, request
from secure.parties.transport.certificates.trust import read_trust, trust_authority
from tests.docs.pages import blocks

PAGE = "docs/certificates.md"
PASSPHRASE = "of the authority"


def follow(line: str, root: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line of the page on a host."""
    folder = root / host
    folder.mkdir(exist_ok=True)
    command, *arguments = shlex.split(line)
    if command == "scp":
        *sources, target = arguments
        other, _, name = target.partition(":")
        (root / other).mkdir(exist_ok=True)
        for source in sources:
            shutil.copy(folder / source, root / other / name)
        return
    assert command == "secure"
    monkeypatch.chdir(folder)
    if "SERIAL" in arguments:
        arguments[arguments.index("SERIAL")] = issued(folder / "authority")[-1].serial
    done = CliRunner().invoke(main.app, arguments, input=f"{PASSPHRASE}\n" * 2)
    assert done.exit_code == 0, f"{host}: {line}\n{done.output}{done.exception}"


def test_the_page_leads_to_certificates_that_are_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p0, p1 = tmp_path / "p0.clinic-a.org", tmp_path / "p1.clinic-b.org"
    p1.mkdir()
    others = {name: Authority.create(tmp_path / name, name, PASSPHRASE, 30) for name in ("clinic-a", "clinic-c")}
    for name in others:
        shutil.copy(tmp_path / name / "authority.crt", p1 / f"{name}.crt")
    seen = []
    for block in blocks(PAGE, "sh"):
        host = ""
        for line in filter(None, block.code.splitlines()):
            if named := re.fullmatch(r"# on (\S+)", line):
                host = named[1]
                continue
            if "new-clinic-b.crt" in line:
                clinic_a_has_forgotten_nothing_yet(tmp_path, p0, others["clinic-a"])
            if "install" in line:
                seen.append((p1 / "certs/p1.crt").read_bytes() if seen else b"")
            follow(line, tmp_path, host, monkeypatch)
            if "install" in line:
                assert (p1 / "certs/p1.crt").read_bytes() != seen[-1]
                assert check_certificates(p1 / "certs", ("p1",)) == []
    trust = read_trust(p1 / "certs")
    assert {role for role, some in trust.authorities.items() if some} == {"p0", "p1", "client", "owner", "dealer"}
    assert "was revoked by its authority" in check_certificates(p1 / "certs", ("p1",))[0], (
        "the renewed one, on the page"
    )
    assert len(read_trust(p0 / "certs").authorities["p1"]) == 1


def clinic_a_has_forgotten_nothing_yet(root: Path, p0: Path, authority: Authority) -> None:
    """P0's host, which the page does not follow."""
    old = (root / "office.clinic-b.org/authority/authority.crt").read_bytes()
    Authority.create(root / "new", "Clinic B", PASSPHRASE, 30)
    p0.mkdir()
    path = request(p0 / "certs", "p0")
    trust_authority(p0 / "certs", (authority.folder / "authority.crt").read_bytes(), ["p0"])
    trust_authority(p0 / "certs", old, ["p1"])
    install(p0 / "certs", authority.sign(path.read_bytes(), "p0", None, 30)[0])
    (p0 / "clinic-b.crt").write_bytes(old)
    shutil.copy(root / "new/authority.crt", p0 / "new-clinic-b.crt")
