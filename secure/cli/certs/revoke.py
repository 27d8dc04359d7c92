"""`secure certs revoke`."""

from __future__ import annotations

from typing import Annotated

import typer

from secure.cli.certs.options import AuthorityOption, PassphraseOption, passphrase
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.parties.transport.certificates import authority as authorities

EXAMPLES = examples("secure certs revoke 3f2a…c1 --authority authority")


def revoke(
    serial: Annotated[str, typer.Argument(metavar="SERIAL", help="As secure certs show prints it.")],
    authority: AuthorityOption,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Take a certificate back. The list that this writes goes to every host: secure certs trust revoked.crl.

    A party refuses a revoked certificate of whoever connects to it, and ends what goes on with it. Who connects to a
    party does not see its certificate: against a thief of a party's key, make a new authority for that party and have
    everybody forget the old one.
    """
    try:
        number = int(serial, 16)
    except ValueError:
        raise ConfigurationError(f"{serial!r} is no serial number; see secure certs show --authority DIR") from None
    path = authorities.Authority(authority, passphrase(passphrase_file)).revoke(number)
    typer.echo(f"Send {path} to every host that trusts this authority, where: secure certs trust {path.name} --dir DIR")
