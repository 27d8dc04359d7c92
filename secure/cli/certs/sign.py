"""`secure certs sign`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from secure.cli.certs.options import AuthorityOption, NameOption, PassphraseOption, contents, passphrase
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.parties.transport.certificates import authority as authorities
    from secure.parties.transport.certificates import files

EXAMPLES = examples(
    "secure certs sign p1.csr --authority authority --role p1 --out p1.crt",
    "secure certs sign client.csr --authority authority --role client --name alice --out alice.crt",
)


def sign(
    path: Annotated[Path, typer.Argument(metavar="REQUEST", help="What secure certs request has made.")],
    authority: AuthorityOption,
    role: Annotated[str, typer.Option(metavar="ROLE", help="The role of whoever sent it, as you know them.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the certificate goes.")],
    name: NameOption = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid.")] = 90,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Sign a request, for the role and name that you say: a request that says otherwise is refused.

    Only its key and the names of its machine are taken from it.
    """
    data = contents(path)
    if out.exists():
        raise ConfigurationError(f"{out} is there already; give another file to --out, or remove it")
    signer = authorities.Authority(authority, passphrase(passphrase_file))
    certificate, signed = signer.sign(data, role, name, days)
    files.replace_file(out, certificate)
    typer.echo(f"request {hashlib.sha256(data).hexdigest()[:16]}: signed for {role}{f' {name!r}' if name else ''}")
    typer.echo(f"{out}: serial {signed.serial}, ends {signed.ends}, machine {', '.join(signed.hosts) or 'not named'}")
