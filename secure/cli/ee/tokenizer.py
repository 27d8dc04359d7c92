"""`secure ee tokenizer`."""

from __future__ import annotations

import typer

from secure.cli.ee.options import EncryptedArgument, KeyOption, OutOption, PassphraseOption, key_from
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples

with lazy_imports(__name__):
    from secure.ee.files import checkpoint
    from secure.ee.owner import tokenizer_files

EXAMPLES = examples("secure ee tokenizer encrypted --key model.key --out client-tokenizer")


def tokenizer(
    folder: EncryptedArgument, key: KeyOption, out: OutOption, passphrase_file: PassphraseOption = None
) -> None:
    """Write a tokenizer whose ids are the server's, for clients that use transformers alone.

    It spells the permutation out: whoever reads it reads the traffic. The folder is for you only, and never the server.
    """
    tokenizer_files.write_encrypted_tokenizer(checkpoint.open_checkpoint(folder, key_from(key, passphrase_file)), out)
    typer.echo(f"{out} has a tokenizer with encrypted ids. It is as secret as the key.")
