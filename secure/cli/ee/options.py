"""Options that several commands of `secure ee` share, and what stands behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from secure.ee.files.folder import Step, no_progress
from secure.ee.files.keyfile import needs_passphrase, read_key
from secure.ee.files.manifest import Assumption
from secure.ee.files.passphrase import VARIABLE, find_passphrase
from secure.protocols.equivariant.key import Key

KeyOption = Annotated[Path, typer.Option("--key", metavar="KEY", help="The key file, made by secure ee keygen.")]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"Its first line is the key file's passphrase. Otherwise {VARIABLE}, otherwise the terminal.",
    ),
]


class AssumedTier(StrEnum):
    """Threat tiers."""

    NONE = "none"
    T0 = "T0"
    T1 = "T1"
    T2 = "T2"


_TIERS: dict[AssumedTier, Assumption] = {
    AssumedTier.NONE: "none",
    AssumedTier.T0: "T0",
    AssumedTier.T1: "T1",
    AssumedTier.T2: "T2",
}


def assumption(chosen: AssumedTier | None) -> Assumption | None:
    """The tier of an option --assume; None where it was not given."""
    return None if chosen is None else _TIERS[chosen]


def key_from(path: Path, passphrase_file: Path | None) -> Key:
    """The key in a file, with its passphrase found when it needs one. Raises ConfigurationError."""
    return unlocked(path, passphrase_file)[0]


def unlocked(path: Path, passphrase_file: Path | None) -> tuple[Key, str | None]:
    """The key in a file, and the passphrase that opened it. Raises ConfigurationError."""
    needed = needs_passphrase(path)
    passphrase = find_passphrase(passphrase_file, what=str(path)) if needed else None
    return read_key(path, passphrase), passphrase


@contextmanager
def byte_bar() -> Iterator[Step]:
    """A bar on standard error for as long as the block runs; nothing when that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield no_progress
        return
    columns = (TextColumn("{task.description:<48}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task("starting", total=None)

        def step(what: str, done: int, total: int) -> None:
            display.update(task, description=what[-48:], completed=done, total=total)

        yield step
