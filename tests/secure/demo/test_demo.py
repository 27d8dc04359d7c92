"""The demo's pieces, on a tiny model and without processes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

import secure.demo.demo
from secure.connection import Parties
from secure.demo import sample
from secure.demo.demo import run_demo
from secure.protocols.core.errors import ConfigurationError, InputError
from tests.secure.fakes import InProcessClient

QUERY = "the cat sat on the mat . the sun is warm . a dog sat"  # long enough for a chi-square test


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> InProcessClient:
    client = InProcessClient()
    monkeypatch.setattr(secure.demo.demo, "launch", lambda **_: Parties(client))
    monkeypatch.setattr(
        secure.demo.demo, "DOCUMENTS", ("the cat [sat]", "rain is cold", "a dog sat on the mat in the sun")
    )
    return client


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_demo_agrees_with_the_clear_model(checkpoint: Path, client: InProcessClient, console: Console) -> None:
    assert run_demo(checkpoint, QUERY, console)
    shown = text(console)
    for part in (f"Query: {QUERY}", "the cat [sat]", "P0: a seed", "P1: corrections", "in the clear", "By layer"):
        assert part in shown
    assert "The dealer received 0 bytes from the client, P0 and P1 together" in shown
    assert client.closed == 1


@pytest.mark.slow
@pytest.mark.processes
def test_the_demo_against_one_that_deviates(
    checkpoint: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four processes, of which three hold two parts each of what the client sends."""
    monkeypatch.setattr(secure.demo.demo, "DOCUMENTS", ("the cat [sat]", "rain is cold"))
    assert run_demo(checkpoint, QUERY, console, protocol="witnessed")
    shown = text(console)
    for part in ("P0, P1, P2 and the dealer, four processes", "P0: two seeds", "P1: corrections", "P2: corrections"):
        assert part in shown
    assert "P0, P1 and P2 each hold two of three parts" in " ".join(shown.split())
    assert "The dealer received 0 bytes from the client, P0, P1 and P2 together" in shown


def test_demo_fails_when_they_differ(
    checkpoint: Path, client: InProcessClient, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secure.demo.demo, "LEAST_COSINE", 1.5)
    assert not run_demo(checkpoint, QUERY, console)
    assert "below" in text(console)


@pytest.mark.parametrize("query", ["", "cat " * 50])
def test_a_bad_query_fails_before_anything_starts(
    checkpoint: Path, client: InProcessClient, console: Console, query: str
) -> None:
    with pytest.raises(InputError, match="sentence 0"):
        run_demo(checkpoint, query, console)
    assert client.uploaded == []


def test_documents_are_about_twenty_and_different() -> None:
    assert len(set(sample.DOCUMENTS)) == len(sample.DOCUMENTS) == 20


def test_the_models_package_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "MODEL_PACKAGE", "no_such_package_anywhere")
    with pytest.raises(ConfigurationError, match=r"secure-inference\[demo\]"):
        sample.model_folder()
