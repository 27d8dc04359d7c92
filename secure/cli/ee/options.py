"""Options that several commands of `secure ee` share, and what stands behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from secure.cli.lazy_imports import lazy_imports
from secure.ee.files.passphrase import VARIABLE, find_passphrase

with lazy_imports(__name__):
    from secure.ee.files import folder, keyfile
    from secure.protocols.equivariant import key as keys

API_KEY = "SECURE_EE_API_KEY"
"""The variable with the key that callers must send."""
BACKEND_API_KEY = "SECURE_EE_BACKEND_API_KEY"
"""The variable with the key that the proxy sends to its backend."""

# The threat tiers stand here again, as text that needs no torch.
AssumedTier = Literal["none", "T0", "T1", "T2"]

KeyOption = Annotated[Path, typer.Option("--key", metavar="KEY", help="The key file, made by secure ee keygen.")]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"Its first line is the key file's passphrase. Otherwise {VARIABLE}, otherwise the terminal.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")]
EncryptedArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A folder made by secure ee encrypt.")]


def key_from(path: Path, passphrase_file: Path | None) -> keys.Key:
    """The key in a file, with its passphrase found when it needs one. Raises ConfigurationError."""
    return unlocked(path, passphrase_file)[0]


def unlocked(path: Path, passphrase_file: Path | None) -> tuple[keys.Key, str | None]:
    """The key in a file, and the passphrase that opened it. Raises ConfigurationError."""
    needed = keyfile.needs_passphrase(path)
    passphrase = find_passphrase(passphrase_file, what=str(path)) if needed else None
    return keyfile.read_key(path, passphrase), passphrase


@contextmanager
def byte_bar() -> Iterator[folder.Step]:
    """A bar on standard error for as long as the block runs; nothing when that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield folder.no_progress
        return
    columns = (TextColumn("{task.description:<48}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task("starting", total=None)

        def step(what: str, done: int, total: int) -> None:
            display.update(task, description=what[-48:], completed=done, total=total)

        yield step
