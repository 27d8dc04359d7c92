"""`secure ee …`: equivariant encryption from the command line. Thin layers over the functions of `secure.ee`.

Each command is a file here and a line below, as in `secure.cli.main`.
"""

from __future__ import annotations

import typer

from secure.cli.ee import audit, certs, decrypt, encrypt, keygen, proxy, rekey, serve, tokenizer, verify

app = typer.Typer(
    name="ee",
    help="Equivariant encryption: a checkpoint that any engine serves at full speed on encrypted token ids.",
    epilog="In order: keygen, encrypt, serve at the server, proxy at the client. What it hides is in SECURITY.md.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.command(epilog=serve.EXAMPLES)(serve.serve)
app.command(epilog=proxy.EXAMPLES)(proxy.proxy)
app.command(epilog=certs.EXAMPLES)(certs.certs)
app.command(epilog=keygen.EXAMPLES)(keygen.keygen)
app.command(epilog=encrypt.EXAMPLES)(encrypt.encrypt)
app.command(epilog=decrypt.EXAMPLES)(decrypt.decrypt)
app.command(epilog=rekey.EXAMPLES)(rekey.rekey)
app.command(epilog=verify.EXAMPLES)(verify.verify)
app.command(epilog=tokenizer.EXAMPLES)(tokenizer.tokenizer)
app.add_typer(audit.app)
