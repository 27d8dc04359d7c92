"""`secure certs authority`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.certs.options import PassphraseOption, passphrase
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples

with lazy_imports(__name__):
    from secure.parties.transport.certificates import authority as authorities

EXAMPLES = examples('secure certs authority --out authority --organisation "Clinic B"')


def authority(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for the authority.")],
    organisation: Annotated[str, typer.Option(metavar="NAME", help="Whose authority it is.")],
    days: Annotated[int, typer.Option(min=1, help="How long it is valid.")] = 3650,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Make an organisation's authority, on a machine that is no party's and best has no network.

    Its key is kept under a passphrase. Whoever has both can be every role that others trust this authority for.
    """
    authorities.Authority.create(out, organisation, passphrase(passphrase_file, new=True), days)
    typer.echo(f"{out / 'authority.crt'} goes to everybody who is to trust it. The key stays here.")
