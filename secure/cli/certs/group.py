"""`secure certs …`: each command is a file here and a line below, as in `secure.cli.main`."""

from __future__ import annotations

import typer

from secure.cli.certs import authority, everybody, install, request, revoke, show, sign, trust
from secure.cli.options import examples

app = typer.Typer(
    name="certs",
    epilog=examples("secure certs --out certs", "secure certs --out certs --host p0=p0.example.org --days 90"),
    invoke_without_command=True,
    rich_markup_mode="rich",
)
app.callback()(everybody.everybody)
app.command(epilog=authority.EXAMPLES)(authority.authority)
app.command(epilog=request.EXAMPLES)(request.request)
app.command(epilog=sign.EXAMPLES)(sign.sign)
app.command(epilog=install.EXAMPLES)(install.install)
app.command(epilog=trust.EXAMPLES)(trust.trust)
app.command(epilog=revoke.EXAMPLES)(revoke.revoke)
app.command(epilog=show.EXAMPLES)(show.show)
