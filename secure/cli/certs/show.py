"""`secure certs show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.parties.transport.certificates import authority as authorities
    from secure.parties.transport.certificates import listing

EXAMPLES = examples("secure certs show --dir certs", "secure certs show --authority authority")


def show(
    folder: Annotated[Path | None, typer.Option("--dir", metavar="DIR", help="A host's certificates.")] = None,
    authority: Annotated[Path | None, typer.Option("--authority", metavar="DIR", help="An authority's folder.")] = None,
) -> None:
    """Certificates of a host and whom it trusts, or what an authority has signed. Shows no key and asks for none."""
    if (folder is None) == (authority is None):
        raise ConfigurationError("say --dir DIR for a host's folder, or --authority DIR for an authority's")
    if authority is not None:
        taken = authorities.revoked(authority)
        table = Table("serial", "role", "name", "machine", "ends", "revoked")
        for one in authorities.issued(authority):
            when = taken.get(int(one.serial, 16))
            row = (one.serial, one.role, one.name or "", ", ".join(one.hosts), one.ends)
            table.add_row(*map(escape, row), f"{when:%Y-%m-%d}" if when else "")
        Console().print(table)
        return
    assert folder is not None
    own = Table("certificate", "name", "signed by", "serial", "ends", "days left", "state")
    for certificate in listing.own_certificates(folder):
        own.add_row(*map(escape, certificate))
    trusted = Table("role", "may be vouched for by", "taken back")
    for entry in listing.trusted(folder):
        trusted.add_row(*map(escape, entry))
    console = Console()
    console.print(own)
    console.print(trusted)
