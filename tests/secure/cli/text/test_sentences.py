"""Sentences come from a file or standard input, and from the command line only when asked to."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from secure.cli.text.sentences import find_sentences
from secure.protocols.core.errors import InputError

TEXT = "the cat\r\na dog\u2028 is warm\n"
SENTENCES = ["the cat", "a dog\u2028 is warm"]


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("ending", ["", "\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_has_a_sentence_on_each_line(tmp_path: Path, mark: str, ending: str) -> None:
    file = tmp_path / "sentences.txt"
    file.write_bytes((mark + TEXT.removesuffix("\n") + ending).encode())
    assert find_sentences(file, []) == SENTENCES


@pytest.mark.parametrize("file", [None, Path("-")])
def test_standard_input(file: Path | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert find_sentences(file, []) == SENTENCES
    assert capsys.readouterr().err == ""


def test_who_calls_it_without_anything_at_a_terminal_is_told_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(b"the cat\n")))
    assert find_sentences(None, []) == ["the cat"]
    captured = capsys.readouterr()
    assert "Ctrl-D" in captured.err and captured.out == ""


def test_the_command_line_when_asked_to() -> None:
    assert find_sentences(None, ["the cat"]) == ["the cat"]


@pytest.mark.parametrize("texts", [[], ["a dog"]])
def test_a_sentence_in_the_place_of_a_file_is_refused_and_not_repeated(texts: list[str]) -> None:
    with pytest.raises(InputError, match=r"standard input, or use --text, which other users") as caught:
        find_sentences(Path("my secret"), texts)
    assert "secret" not in str(caught.value)


def test_what_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "sentences.txt"
    file.write_bytes("the cat\ncafé".encode("latin-1"))
    with pytest.raises(InputError, match=r"line 2 of the file is not UTF-8"):
        find_sentences(file, [])
