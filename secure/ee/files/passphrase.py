"""Where a passphrase comes from: a file, an environment variable, or the terminal. Never the command line, which other
users of the machine can read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from secure.protocols.core.errors import ConfigurationError

VARIABLE = "SECURE_EE_PASSPHRASE"


def find_passphrase(file: Path | None, *, what: str, confirm: bool = False) -> str:
    """The passphrase: the first line of `file`, else the variable, else asked for.

    confirm: ask twice, for a new one. Raises ConfigurationError when there is none to be had.
    """
    if file is not None:
        return _first_line(file)
    given = os.environ.get(VARIABLE)
    if given is not None:
        if not given:
            raise ConfigurationError(f"{VARIABLE} is set but empty; unset it, or set it to the passphrase")
        return given
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"{what} needs a passphrase and there is no terminal to ask at; set {VARIABLE}, or use --passphrase-file"
        )
    return str(typer.prompt(f"Passphrase of {what}", hide_input=True, confirmation_prompt=confirm, err=True))


def _first_line(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError(f"the passphrase file {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"the passphrase file {file} is no text") from None
    if not lines or not lines[0]:
        raise ConfigurationError(f"the first line of the passphrase file {file} is empty")
    return lines[0]
