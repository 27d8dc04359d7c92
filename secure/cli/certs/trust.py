"""`secure certs trust`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.certs.options import DirOption, RolesOption, contents
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.parties.transport.certificates import trust as trusting

EXAMPLES = examples(
    "secure certs trust clinic-b.crt --role p1 --dir certs",
    "secure certs trust clinic-b.crl --dir certs",
    "secure certs trust clinic-b.crt --role p1 --forget --dir certs",
)


def trust(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An organisation's authority.crt, or its revoked.crl.")],
    folder: DirOption,
    role: RolesOption = [],  # noqa: B006  (typer copies it)
    forget: Annotated[bool, typer.Option("--forget", help="Trust it no longer for these roles.")] = False,
) -> None:
    """Take certificates of a role from an authority, or heed what an authority has revoked.

    An authority vouches for the roles that are named here and for no other one: else one organisation could be two
    parties. Running parties heed a change within seconds, in open sessions, too.
    """
    data = contents(path)
    if b"X509 CRL" in data:
        if role or forget:
            raise ConfigurationError("a list of revoked certificates goes without --role and --forget")
        name, count = trusting.take_list(folder, data)
        typer.echo(f"{count} certificates of {name!r} are not taken any more.")
        return
    if not role:
        raise ConfigurationError("say for which roles it may vouch: --role p1, and --role again for another one")
    change = trusting.forget_authority if forget else trusting.trust_authority
    name = change(folder, data, role)
    typer.echo(f"{name!r} {'no longer vouches' if forget else 'vouches'} for {', '.join(role)} here.")
