"""docs/private-inference.md, followed: simulations by default; slow, with fewer requests, real parties, too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import results
from bench.__main__ import app
from tests.bench.inference_records import constants_record
from tests.docs.pages import blocks, read, shell_commands

PAGE = "docs/private-inference.md"
COMMANDS = [words[3:] for words in shell_commands(PAGE) if words[3] == "private-inference"]
FEW = ["--requests", "60", "--seeds", "3"]


def call(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output or done.exception
    return done.output


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for results, in which a user works."""
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arrivals.txt").write_text("\n".join(str(3 * number) for number in range(40)))
    return tmp_path


def test_the_simulations(folder: Path) -> None:
    results.save("inference-constants-pictures", constants_record())
    said = [call(*words, *FEW) for words in COMMANDS if words[1] == "simulate"]
    assert len(said) == 3
    for text in said:
        assert "1.500 s offline, 0.500 s online" in text
        assert all(re.search(rf"^{name}: ", text, re.MULTILINE) for name in ("sustained", "mean", "p50", "p99", "hits"))
    assert "±" in said[0] and "±" not in said[2], "a trace is one run"
    assert "mean: 0.5 s" in said[2] and "hits: 1" in said[2]


def test_what_has_no_record_is_refused_with_the_command() -> None:
    done = CliRunner().invoke(app, ["private-inference", "simulate", "pictures"])
    assert "python -m bench private-inference constants pictures" in str(done.exception)


def test_the_artifacts_figures_are_those_of_the_code() -> None:
    from_page = set(re.findall(r"\d[\d,]*\.?\d*", read(PAGE)))
    assert {"103.7", "54.6", "171.7", "86.5", "17,072", "1,184", "18,248", "3,590", "39.1", "2.6", "141"} <= from_page
    assert len(blocks(PAGE, "sh")) == 3


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(1800)
def test_constants_and_a_load_of_real_parties(folder: Path) -> None:
    pytest.importorskip("tenseal")
    (measuring,) = (words for words in COMMANDS if words[1] == "constants")
    assert "kept: p0" in call(*measuring, "--turns", "2")
    record = json.loads((folder / "inference-constants-pictures.json").read_text())
    assert record["offline"]["median_seconds"] > record["online"]["median_seconds"] > 0
    assert record["offline"]["sent_bytes"]["p0"] > 100_000 and record["kept_bytes"]["p1"] > 1_000_000
    call(*next(words for words in COMMANDS if words[1] == "simulate"), *FEW)
    for words in (words for words in COMMANDS if words[1] == "load"):
        text = call(*words, "--seconds", "1", "--turns", "2", "--utilisations", "0.4")
        assert "utilisation 0.40, 20 requests" in text
    for path in folder.glob("inference-load-*.json"):
        (row,) = json.loads(path.read_text())["rows"]
        assert 0 < row["real"]["hits"] <= 1 and row["real"]["mean"] > 0
    assert len(list(folder.glob("inference-load-*.json"))) == 2
