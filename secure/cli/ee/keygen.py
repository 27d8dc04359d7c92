"""`secure ee keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.ee.options import PassphraseOption
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples
from secure.ee.files.passphrase import find_passphrase
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.ee.files import keyfile
    from secure.protocols.equivariant import key as keys

EXAMPLES = examples("secure ee keygen --out model.key", "secure ee keygen --out model.key --clear")


def keygen(
    out: Annotated[Path, typer.Option("--out", metavar="KEY", help="A new file; one that exists is never replaced.")],
    clear: Annotated[bool, typer.Option("--clear", help="No passphrase: whoever reads the file has the key.")] = False,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Make a key: 32 bytes from the operating system, in a file under a passphrase.

    Without the key nobody can use or decrypt what was encrypted with it, you included. Keep a copy.
    """
    if clear and passphrase_file is not None:
        raise ConfigurationError("--clear and --passphrase-file exclude each other")
    if out.exists():
        raise ConfigurationError(f"{out} exists; a key file is never overwritten, choose another name")
    passphrase = None if clear else find_passphrase(passphrase_file, what=str(out), confirm=True)
    key = keys.Key.generate()
    keyfile.write_key(out, key, passphrase)
    how = "in the clear" if clear else "under the passphrase"
    typer.echo(f"Key {key.check_value[:8]} is in {out}, {how}. Keep a copy; nothing else opens what it encrypts.")
