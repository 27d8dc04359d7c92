"""`secure certs request`."""

from __future__ import annotations

from typing import Annotated

import typer

from secure.cli.certs.options import DirOption, NameOption
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples

with lazy_imports(__name__):
    from secure.parties.transport.certificates import requesting

EXAMPLES = examples(
    "secure certs request p1 --dir certs --host p1.clinic-b.org",
    "secure certs request client --name alice --dir certs",
)


def request(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="p0, p1, p2, dealer, client, owner or server.")],
    folder: DirOption,
    name: NameOption = None,
    host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name or address of this machine. May be repeated.")
    ] = None,
) -> None:
    """Make a key on this host, where it stays, and a request that an authority signs.

    So, too, a certificate is replaced before it ends: the one in use stays until the new one is installed.
    """
    path = requesting.request(folder, role, name, host or [])
    typer.echo(f"Send {path} to the authority, and say over another way that it is yours. Then: secure certs install")
