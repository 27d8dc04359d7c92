"""Receipts as files and at the command line, of sessions with real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import secure
import secure.connection
from secure.cli.main import app
from secure.parties.process.exit_codes import ExitCode, exit_code
from secure.parties.transport.certificates.making import make_certificates
from secure.report.receipt import Receipt
from secure.report.report import Report
from tests.secure.fakes import InProcessClient
from tests.secure.running import Running


def verified(path: Path, authority: Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", str(path), "--authority", str(authority)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return int(exit_code(done.exception)), str(done.exception)
    return done.exit_code, done.output


@pytest.mark.processes
@pytest.mark.xdist_group("parties")
def test_a_receipt_of_real_processes_is_verified_offline(checkpoint: Path, tmp_path: Path, beaver: Running) -> None:
    with secure.PrivateModel.from_pretrained(checkpoint, parties=beaver.parties) as model:
        model.encode(["the cat sat", "rain"], batch_size=1)
        receipt, report = model.report.receipt, model.report
        assert receipt is not None
        assert len(receipt.sessions) == report.sessions == 2
        assert {session.shared("model_digest") for session in receipt.sessions} == {model.manifest.digest}
    sent = {role: dict(totals.bytes_sent) for role, totals in report.roles.items()}
    for role, by_peer in sent.items():
        of_sessions = [session.signed[role].statement["bytes_sent"] for session in receipt.sessions]
        assert by_peer == {peer: sum(each[peer] for each in of_sessions) for peer in by_peer}, "what the report says"
    path, authority = tmp_path / "receipt.json", beaver.settings.tls_dir / "authority.crt"
    receipt.save(path)
    assert Receipt.load(path).sessions[1].signed == receipt.sessions[1].signed
    code, output = verified(path, authority)
    assert code == ExitCode.OK and "ok: every role signed this" in output and model.manifest.digest in output
    assert "not that the answer is right" in output and "answer is shown" not in output

    make_certificates(tmp_path / "others")
    code, output = verified(path, tmp_path / "others" / "authority.crt")
    assert code == ExitCode.RECEIPT and "session 1 of 2: p0: its certificate was not issued by this authority" in output

    whole = json.loads(path.read_text())
    whole["sessions"][1]["p1"]["statement"]["cost"]["rounds"] += 1
    path.write_text(json.dumps(whole))
    code, output = verified(path, authority)
    assert code == ExitCode.RECEIPT and "session 2 of 2: p1: the signature is not of this statement" in output
    del whole["sessions"][1]["p1"]
    path.write_text(json.dumps(whole))
    code, output = verified(path, authority)
    assert code == ExitCode.RECEIPT and "session 2 of 2: p1 is missing" in output

    receipt.save(path, answer=True)
    code, output = verified(path, authority)
    assert code == ExitCode.OK and output.count("the answer is shown, and is the one that was signed") == 2
    whole = json.loads(path.read_text())
    whole["sessions"][0]["p0"]["answer"]["messages"] = ["AAAA"]
    path.write_text(json.dumps(whole))
    code, output = verified(path, authority)
    assert code == ExitCode.RECEIPT and "p0: the answer shown is not the one" in output


def test_what_is_no_receipt_is_refused(tmp_path: Path) -> None:
    authority, path = tmp_path / "authority.crt", tmp_path / "receipt.json"
    for text, words in (
        ("no JSON", "is no JSON"),
        ("[]", "is no receipt"),
        ('{"schema": 2}', "has schema 2, this version reads 1"),
        ('{"schema": 1, "sessions": [{"p0": {}}]}', "is no receipt: KeyError at 'statement'"),
    ):
        path.write_text(text)
        code, output = verified(path, authority)
        assert code == ExitCode.RECEIPT and words in output
    path.write_text('{"schema": 1, "sessions": []}')
    assert verified(path, authority)[0] == ExitCode.CONFIGURATION, "there is no authority"
    authority.write_text("none")
    code, output = verified(path, authority)
    assert code == ExitCode.RECEIPT and "of no session" in output


def test_roles_that_are_no_processes_sign_nothing(checkpoint: Path, client: InProcessClient) -> None:
    model = secure.PrivateModel.from_pretrained(checkpoint, parties=secure.connection.Parties(client))
    model.encode(["rain"])
    assert model.report.receipt is None and Report.from_json(model.report.to_json()).receipt is None
