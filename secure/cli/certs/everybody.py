"""`secure certs --out`: all of them, on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import ProtocolOption
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.parties import config
    from secure.parties.transport.certificates import making
    from secure.protocols import families


def everybody(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="A new folder for certificates and keys.")
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=NAME", help="A name or address of a role's machine. May be given several times."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long they are valid.")] = 365,
    client: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A client with a certificate of its own. May be given several times."),
    ] = None,
    protocol: ProtocolOption = "beaver",
) -> None:
    """Certificates. With --out: an authority, and a certificate and key for each role, all on this machine.

    That is for trying, and for parties of one operator. Where each organisation is to keep its own keys: authority,
    request, sign, trust and install, below.

    With --out the authority's own key is not kept: to add or replace a certificate, make all of them again.

    With --client each client gets its own, client-NAME.crt and .key: rename them to client.crt and client.key there.
    What one client has loaded no other can then unload.

    Copy to each host authority.crt and its own role's .crt and .key. Then remove the keys here.
    """
    if context.invoked_subcommand is not None:
        if out is not None:
            raise ConfigurationError(
                f"--out makes all certificates here; leave it out with {context.invoked_subcommand}"
            )
        return
    if out is None:
        raise ConfigurationError("say --out DIR for all roles at once, or one of the commands of secure certs --help")
    hosts: dict[str, list[str]] = {}
    for item in host or []:
        role, separator, name = item.partition("=")
        if not separator or not name:
            raise ConfigurationError(f"--host {item}: expected ROLE=NAME, for example p0=p0.example.org")
        hosts.setdefault(role, []).append(name)
    making.make_certificates(out, hosts, days, (*families.family(protocol).roles, *config.CALLERS), tuple(client or ()))
    typer.echo(f"Certificates and keys are in {out}. Give each host authority.crt and its own role's two files.")
