"""`secure ee verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secure.cli.ee.options import EncryptedArgument, PassphraseOption, byte_bar, key_from
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples

with lazy_imports(__name__):
    from secure.ee.owner import verify as verification

EXAMPLES = examples(
    "secure ee verify encrypted",
    "secure ee verify encrypted --key model.key",
    "secure ee verify encrypted --key model.key --base Llama-3.2-1B",
)


def verify(
    folder: EncryptedArgument,
    key: Annotated[Path | None, typer.Option("--key", metavar="KEY", help="Also check the key and the seal.")] = None,
    base: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also compare with what the key makes of this checkpoint.")
    ] = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Check that an encrypted folder is whole and untouched."""
    secret = None if key is None else key_from(key, passphrase_file)
    with byte_bar() as progress:
        findings = verification.verify_checkpoint(folder, key=secret, base=base, progress=progress)
    table = Table(show_header=False, box=None, padding=(0, 2))
    for finding in findings:
        table.add_row("[green]ok[/green]", escape(finding.what), escape(finding.detail))
    Console().print(table)
