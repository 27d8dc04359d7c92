"""`secure ee certs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples

with lazy_imports(__name__):
    from secure.parties.encrypted import service

EXAMPLES = examples("secure ee certs --out certs", "secure ee certs --out certs --host gpu.example.org")


def certs(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for certificates and keys.")],
    host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name or address of the server. May be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long they are valid.")] = 365,
) -> None:
    """Make an authority, and a certificate and key for the server and for its clients.

    Copy authority.crt and server.* to the server, authority.crt and client.* to clients. Then remove the keys here.
    """
    service.make_generation_certificates(out, {"server": host or ["127.0.0.1", "localhost"]}, days)
    typer.echo(f"Certificates and keys are in {out}. The server gets authority.crt and server.*, clients client.*.")
