"""`secure ee decrypt`."""

from __future__ import annotations

import typer

from secure.cli.ee.options import EncryptedArgument, KeyOption, OutOption, PassphraseOption, byte_bar, key_from
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples

with lazy_imports(__name__):
    from secure.ee.owner import decrypt as decryption

EXAMPLES = examples("secure ee decrypt encrypted --key model.key --out plain")


def decrypt(
    folder: EncryptedArgument, key: KeyOption, out: OutOption, passphrase_file: PassphraseOption = None
) -> None:
    """Turn an encrypted checkpoint back into a plain one, with its tokenizer."""
    secret = key_from(key, passphrase_file)
    with byte_bar() as progress:
        done = decryption.decrypt_checkpoint(folder, secret, out, progress=progress)
    how = "bit for bit the base" if done.same_bits else "equal to the base up to rounding, with gains folded"
    typer.echo(f"{done.tensors} tensors are decrypted in {out}, {how}.")
