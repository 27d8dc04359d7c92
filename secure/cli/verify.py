"""`secure verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples

with lazy_imports(__name__):
    from secure.report import receipt as receipts

EXAMPLES = examples("secure verify receipt.json --authority certs/authority.crt")


def verify(
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT", help="A file that report.receipt.save wrote.")],
    authority: Annotated[
        Path, typer.Option(metavar="PATH", help="authority.crt, or a host's folder of certificates and whom it trusts.")
    ],
) -> None:
    """Check a receipt offline: every role of the protocol signed the same session, with a certificate of the authority.

    A receipt says who answered with what. It does not say that the answer is right: for that there are
    security="malicious" and secure audit.
    """
    found = receipts.Receipt.load(receipt)
    found.verify(authority)
    typer.echo(found.describe())
    typer.echo("ok: every role signed this. It says who answered with what, not that the answer is right.")
