"""Receipts of encrypted models: what a served answer brings along, as a file and at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import secure
from secure.ee.engine.server_engine import TransformersEngine
from secure.parties.process.exit_codes import ExitCode
from secure.report.receipt import Receipt
from tests.secure.ee.serving import Start
from tests.secure.ee.tiny import Tiny
from tests.secure.report.test_receipt import verified


def test_a_served_answer_has_a_receipt_that_is_verified_offline(
    tiny: Tiny, tiny_engine: TransformersEngine, start: Start, certificates: Path, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{start(tiny_engine)}"
    prompts = tiny.tokenizer(["the cat", "the mat"], return_tensors="pt")["input_ids"]
    with secure.EncryptedModel.from_pretrained(
        tiny.encrypted, key=tiny.key, server=address, certificates=certificates
    ) as model:
        model.generate(prompts, max_new_tokens=4, progress=False)
        report = model.report
        receipt = report.receipt
        assert receipt is not None and len(receipt.sessions) == report.sessions == 2
        assert list(model.stream("the cat", max_new_tokens=3, progress=False))
        streamed = model.report.receipt
        assert streamed is not None and len(streamed.sessions) == 1 and streamed != receipt
        stopped = model.stream("the cat", max_new_tokens=9, progress=False)
        next(stopped)
        stopped.close()
        assert model.report.receipt is None, "its answer had not come to its end"
    assert "receipt" not in repr(report)

    path, authority = tmp_path / "receipt.json", certificates / "authority.crt"
    receipt.save(path)
    assert Receipt.load(path) != receipt, "the answer is not in the file"
    code, said = verified(path, authority)
    assert code == ExitCode.OK and said.count("protocol equivariant, security semi-honest") == 2
    assert "not that the answer is right" in said and "answer is shown" not in said
    whole = json.loads(path.read_text())
    statement = whole["sessions"][1]["server"]["statement"]
    assert statement["request"] == f"{len(prompts[1])} tokens, 4 new at most"
    statement["model_digest"] = "00" * 32
    path.write_text(json.dumps(whole))
    code, said = verified(path, authority)
    assert code == ExitCode.RECEIPT and "session 2 of 2: server: the signature is not of this statement" in said
    receipt.save(path, answer=True)
    assert verified(path, authority)[1].count("the answer is shown, and is the one that was signed") == 2


def test_a_model_of_this_process_has_no_receipt(tiny: Tiny) -> None:
    model = secure.EncryptedModel.from_pretrained(tiny.encrypted, key=tiny.key)
    model.generate("the cat", max_new_tokens=2, progress=False)
    assert model.report.receipt is None
    model.unload()
