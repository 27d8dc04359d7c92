"""`secure ee rekey`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.ee.options import EncryptedArgument, KeyOption, OutOption, PassphraseOption, byte_bar, unlocked
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.ee.files import keyfile
    from secure.ee.owner import decrypt as decryption

EXAMPLES = examples("secure ee rekey encrypted --key model.key --out encrypted2 --new-key model2.key")


def rekey(
    folder: EncryptedArgument,
    key: KeyOption,
    out: OutOption,
    new_key: Annotated[
        Path, typer.Option("--new-key", metavar="KEY", help="A new file for the new key, under the same passphrase.")
    ],
    passphrase_file: PassphraseOption = None,
) -> None:
    """Permute the vocabulary anew. Fast: only embedding, head and ids change.

    A server that keeps both folders can align them row by row, and then knows what it knew before. Rekeying helps
    against whoever has seen ids only, and where the old folder is gone.
    """
    secret, passphrase = unlocked(key, passphrase_file)
    if new_key.exists():
        raise ConfigurationError(f"{new_key} exists; a key file is never overwritten, choose another name")
    with byte_bar() as progress:
        fresh, manifest = decryption.rekey_checkpoint(folder, secret, out, progress=progress)
    keyfile.write_key(new_key, fresh, passphrase)
    typer.echo(f"{out} has vocabulary {manifest.epoch}; its key {fresh.check_value[:8]} is in {new_key}.")
    typer.echo("A server that keeps the old folder, too, can align the two row by row; have it deleted.")
