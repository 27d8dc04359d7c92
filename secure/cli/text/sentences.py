"""Where the sentences of a command come from: a file, standard input or, when asked to, the command line.

Every user of a machine can read what others' commands are called with, and shells keep it. So a sentence that stands
there by mistake is not repeated in an error, either.
"""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from secure.protocols.core.errors import InputError

_WAYS = (
    "give a file with a sentence on each line, write sentences to standard input, or use --text, which other users of "
    "this machine can read while the command runs"
)


def find_sentences(file: Path | None, texts: list[str]) -> list[str]:
    """What `file` has, one sentence a line, or standard input where it is None or `-`; or `texts`, where there are any.

    Raises InputError when there are two sources, and for what is no text.
    """
    if texts:
        if file is not None:
            raise InputError(
                "both a file and --text are given; the argument is a file's name and no sentence: " + _WAYS
            )
        return texts
    if file is None or str(file) == "-":
        if sys.stdin.isatty():
            typer.echo("One sentence a line; Ctrl-D on a line of its own ends them.", err=True)
        return _lines(sys.stdin.buffer.read(), "standard input")
    try:
        return _lines(file.read_bytes(), "the file")
    except OSError as error:
        raise InputError(f"the argument is no file that can be read ({error.strerror}): {_WAYS}") from None


def find_text(file: Path | None, text: str | None) -> str:
    """One text, line ends included: of `file`, of standard input, or `text`. Raises InputError as `find_sentences`."""
    return "\n".join(find_sentences(file, [] if text is None else [text]))


def _lines(data: bytes, where: str) -> list[str]:
    """The lines of a text; a mark of its byte order, as Windows writes it, is no part of a sentence."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"line {line} of {where} is not UTF-8; convert it first") from None
    # Not splitlines: it also splits at characters that stand within sentences.
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines
