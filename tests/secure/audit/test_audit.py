"""Audits of private models: stored answers, thresholds from honest noise, and what the parties see."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertForSequenceClassification, BertModel
from typer.testing import CliRunner

import secure
from secure import connection
from secure.audit.canaries import MARGIN, Canaries, Canary, prepare
from secure.audit.compare import Answer, distance
from secure.audit.models import AuditedModel, ClearModel
from secure.audit.report import report
from secure.audit.running import AuditLog, Entry, run
from secure.cli import main
from secure.connection import Parties
from secure.parties.process.exit_codes import ExitCode, exit_code
from secure.protocols.core.errors import AuditFailed, ConfigurationError, InputError
from tests.docs.pages import shell_commands
from tests.secure.clear_client import ClearClient
from tests.secure.conftest import WORDS
from tests.secure.letters import save_chat_model
from tests.secure.running import Running

TEXTS = [f"the {first} {second} ." for first in WORDS[2:8] for second in WORDS[4:10]]


def test_distances_are_of_vectors_by_norm_and_of_tokens_by_log_probability() -> None:
    assert distance("embedding", Answer((3.0, 4.0)), Answer((3.0, 4.5))) == pytest.approx(0.1)
    assert distance("classes", Answer((0.0, 0.0)), Answer((0.0, 0.5))) == 0.5, "not relative to nothing"
    for broken in (Answer(()), Answer((1.0,)), Answer((1.0, math.nan)), Answer((1.0, math.inf))):
        assert distance("embedding", Answer((3.0, 4.0)), broken) == math.inf
    stored = Answer((-1.0, -2.0, -3.0), ("a", "b", "c"))
    assert distance("next_token", stored, Answer((-1.0, -2.25, -3.0), ("a", "b", "c"))) == 0.25
    assert distance("next_token", stored, Answer((-1.0, -2.0), ("a", "b"))) == 0, "it may tell fewer"
    assert distance("next_token", stored, Answer((-1.0, -2.5), ("a", "d"))) == 0.5, "b is likelier than anything told"
    assert distance("next_token", stored, Answer((-1.0, -2.0, -2.5, -3.0), ("a", "b", "d", "c"))) == 0.5
    assert distance("next_token", stored, Answer((-1.0, -2.0), ("a",))) == math.inf
    assert distance("next_token", stored, Answer((), ())) == math.inf


def of_length(texts: Any) -> list[Answer]:
    return [Answer((float(len(text)), 1.0)) for text in texts]


def noisy(texts: Any) -> list[Answer]:
    return [Answer((float(len(text)), 1.0 + 1e-6 * (hash(text) % 7))) for text in texts]


def test_canaries_come_from_the_texts_and_the_threshold_from_the_others(tmp_path: Path) -> None:
    made = prepare("embedding", [*TEXTS, TEXTS[0]], of_length, noisy, noise_texts=12)
    assert len(made.noise) == 12 and len(made.canaries) == len(set(TEXTS)) - 12
    assert made.threshold == MARGIN * max(made.noise)
    assert {canary.text for canary in made.canaries} < set(TEXTS)
    made.save(tmp_path / "canaries.json")
    assert Canaries.load(tmp_path / "canaries.json") == made
    assert (tmp_path / "canaries.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigurationError, match="name a new file"):
        made.save(tmp_path / "canaries.json")
    with pytest.raises(InputError, match="8 different texts and 8 of them"):
        prepare("embedding", TEXTS[:8], of_length, noisy, noise_texts=8)
    with pytest.raises(InputError, match="is it the same model"):
        prepare("embedding", TEXTS, of_length, lambda texts: [Answer((1.0,)) for _ in texts], noise_texts=8)
    for text in ("no JSON", "{}", '{"format": 1, "kind": "embedding", "noise": 3}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ConfigurationError, match="has no canaries"):
            Canaries.load(tmp_path / "other.json")


CANARIES = Canaries("embedding", tuple(Canary(text, of_length([text])[0]) for text in TEXTS[:5]), (1e-6,) * 8)


def test_canaries_go_out_among_other_texts(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(texts: Any) -> list[Answer]:
        asked.extend(texts)
        return of_length(texts)

    log = AuditLog(tmp_path / "log")
    others = ["one", "three", "a fourth"]
    answers = run(ask, CANARIES, log, count=4, among=others, again=False)
    assert answers == of_length(others), "the others' answers, in their order"
    assert sorted(asked) == sorted([*others, *(CANARIES.canaries[entry.canary].text for entry in log.entries())])
    assert len({entry.canary for entry in log.entries()}) == 4
    with pytest.raises(InputError, match="2 canaries are to be asked, 1 are left"):
        run(ask, CANARIES, log, count=2, again=False)
    run(ask, CANARIES, log, count=1, again=False)
    assert {entry.canary for entry in log.entries()} == {0, 1, 2, 3, 4}, "none is sent twice"
    run(ask, CANARIES, log, count=5)
    assert len(log.entries()) == 10


def test_the_report_says_what_would_have_been_seen(tmp_path: Path) -> None:
    fine = report(CANARIES, [Entry(0, 1e-6)] * 44)
    assert fine.wrong == 0 and fine.seen_share == pytest.approx(1 - 0.01 ** (1 / 44))
    assert "If 9.94 % of all answers or more had been spoilt, these 44 canaries would have shown it" in str(fine)
    assert (1 - fine.seen_share) ** 44 == pytest.approx(0.01), "that is what 99 % means"
    fine.check()
    bad = report(CANARIES, [Entry(0, 1e-6), Entry(1, 2e-5), Entry(2, math.inf)])
    assert bad.wrong == 2
    with pytest.raises(AuditFailed, match="2 of 3 canaries were answered wrong"):
        bad.check()
    with pytest.raises(InputError, match="no canary was asked yet"):
        report(CANARIES, [])
    with pytest.raises(InputError, match="the log is of other canaries"):
        report(CANARIES, [Entry(5, 0.0)])
    (tmp_path / "log").write_text("{}\n")
    with pytest.raises(ConfigurationError, match="is no log of an audit"):
        AuditLog(tmp_path / "log").entries()
    assert AuditLog(tmp_path / "none").entries() == []


def other_weights(folder: Path, out: Path) -> Path:
    """The same model but for the last bits of a bfloat16."""
    model = BertModel.from_pretrained(folder)
    shutil.copytree(folder, out)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    model.save_pretrained(out)
    return out


def test_an_audit_of_a_private_encoder_finds_another_model(
    checkpoint: Path, tmp_path: Path, clear_client: ClearClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the commands. The parties compute in the clear here, so honest noise is that of the functions alone."""
    monkeypatch.setattr(connection, "launch", lambda **_: Parties(clear_client))
    texts, canaries = tmp_path / "texts.txt", tmp_path / "canaries.json"
    texts.write_text("\n".join(TEXTS))

    def call(*arguments: object) -> tuple[int, str]:
        done = CliRunner().invoke(main.app, ["audit", *map(str, arguments)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return int(exit_code(done.exception)), str(done.exception)
        return done.exit_code, done.output

    code, said = call("prepare", checkpoint, texts, "--out", canaries, "--honest", 8)
    assert code == 0 and "canaries are in" in said, said
    code, said = call("run", canaries, "--model", checkpoint, "--count", 5)
    assert code == 0 and "these 5 canaries would have shown it with 99 % confidence" in said, said
    others = tmp_path / "others.txt"
    others.write_text("rain is cold\nthe cat")
    code, said = call("run", canaries, others, "--model", checkpoint, "--count", 1, "--out", tmp_path / "answers.json")
    due = ClearModel(checkpoint)(["rain is cold", "the cat"])
    found = [Answer(tuple(row)) for row in json.loads((tmp_path / "answers.json").read_text())]
    assert code == 0 and all(distance("embedding", *pair) < 1e-2 for pair in zip(due, found, strict=True))
    assert call("report", canaries)[1] == said and "these 6 canaries" in said
    spoilt = BertModel.from_pretrained(checkpoint)
    del spoilt.encoder.layer[1:]
    spoilt.config.num_hidden_layers = 1
    shutil.copytree(checkpoint, tmp_path / "spoilt")
    spoilt.save_pretrained(tmp_path / "spoilt")
    code, said = call("run", canaries, "--model", tmp_path / "spoilt", "--count", 1)
    assert code == ExitCode.AUDIT and "1 of 7 canaries were answered wrong" in said
    assert call("report", canaries)[0] == ExitCode.AUDIT


def test_the_page_is_followed_to_the_letter(
    checkpoint: Path, tmp_path: Path, clear_client: ClearClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands, in their order, with the files' names alone put in their places."""
    for name in ("launch", "connect"):
        monkeypatch.setattr(connection, name, lambda *_, **__: Parties(clear_client))
    texts = [f"{first} {second} ." for first in WORDS[:12] for second in WORDS[:12] if first != second]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    (tmp_path / "sentences.txt").write_text("rain is cold\nthe cat")
    files = {name: str(tmp_path / name) for name in ("texts.txt", "sentences.txt", "canaries.json", "answers.json")}
    places = {"path/to/checkpoint": str(checkpoint), "shares": str(checkpoint), **files}
    commands = [words[1:] for words in shell_commands("docs/audit.md") if words[:2] == ["secure", "audit"]]
    assert [words[1] for words in commands] == ["prepare", "run", "run", "report"]
    for words in commands:
        done = CliRunner().invoke(main.app, [places.get(word, word) for word in words])
        assert done.exit_code == 0, (words, done.output, done.exception)
    assert len(json.loads((tmp_path / "answers.json").read_text())) == 2
    assert "these 22 canaries" in done.output


@pytest.mark.processes
@pytest.mark.xdist_group("parties")
def test_real_parties_are_audited_and_other_weights_at_them_found(
    checkpoint: Path, tmp_path: Path, beaver: Running
) -> None:
    """Three processes that compute on shares: honest noise is theirs, and so is what a last layer less changes."""
    clear, log = ClearModel(checkpoint), AuditLog(tmp_path / "log")
    with secure.PrivateModel.from_pretrained(checkpoint, parties=beaver.parties) as private:
        asked = AuditedModel(private, clear.kind)
        made = prepare(clear.kind, TEXTS[:16], clear, asked, noise_texts=8)
        run(asked, made, log, count=8)
    assert min(made.noise) > 0 and report(made, log.entries()).wrong == 0
    spoilt = BertModel.from_pretrained(checkpoint)
    del spoilt.encoder.layer[1:]
    spoilt.config.num_hidden_layers = 1
    shutil.copytree(checkpoint, tmp_path / "spoilt")
    spoilt.save_pretrained(tmp_path / "spoilt")
    with secure.PrivateModel.from_pretrained(tmp_path / "spoilt", parties=beaver.parties) as private:
        run(AuditedModel(private, clear.kind), made, log, count=1)
    found = report(made, log.entries())
    assert (found.asked, found.wrong) == (9, 1)


def test_parties_see_the_same_of_a_canary_as_of_a_request(
    checkpoint: Path, clear_client: ClearClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they see are the request and sizes of payloads; what is in those is shared, hence uniform."""
    seen: list[tuple[Any, ...]] = []
    original = clear_client.predict

    def predict(model: str, policy: str, request: Any, payloads: tuple[bytes, ...], progress: Any = None) -> Any:
        seen.append((model, policy, request, tuple(map(len, payloads))))
        return original(model, policy, request, payloads, progress)

    monkeypatch.setattr(clear_client, "predict", predict)
    model = secure.PrivateModel.from_pretrained(checkpoint, parties=Parties(clear_client))
    model.encode(TEXTS[5:7], batch_size=1)
    AuditedModel(model, "embedding", batch_size=1)(TEXTS[:2])
    users, canaries = seen[:2], seen[2:]
    assert users == canaries and len(canaries) == 2


def test_classes_and_next_tokens_are_audited_too(checkpoint: Path, tmp_path: Path, clear_client: ClearClient) -> None:
    torch.manual_seed(4)
    folder = Path(shutil.copytree(checkpoint, tmp_path / "classifier"))
    BertForSequenceClassification.from_pretrained(checkpoint, num_labels=3).save_pretrained(folder)
    clear = ClearModel(folder)
    parties = Parties(clear_client)
    private = secure.PrivateModel.from_pretrained(folder, parties=parties)
    made = prepare(clear.kind, TEXTS[:16], clear, AuditedModel(private, clear.kind), noise_texts=8)
    assert clear.kind == "classes" and made.threshold < 0.1

    (tmp_path / "talks").mkdir()
    save_chat_model(tmp_path / "talks")
    clear = ClearModel(tmp_path / "talks")
    talks = secure.PrivateModel.from_pretrained(tmp_path / "talks", parties=parties)
    texts = [first + second for first in "abcdef" for second in "XYZ"]
    made = prepare(clear.kind, texts, clear, AuditedModel(talks, clear.kind, new_tokens=2), noise_texts=8)
    assert clear.kind == "next_token" and made.threshold < 0.5
    assert clear_client.requests[-1].output == "next_logits" and clear_client.requests[-1].steps == 2
    (canary, *_) = made.canaries
    swapped = Answer(canary.answer.values, (*canary.answer.names[1::-1], *canary.answer.names[2:]))
    assert distance("next_token", canary.answer, canary.answer) == 0 < distance("next_token", canary.answer, swapped)
