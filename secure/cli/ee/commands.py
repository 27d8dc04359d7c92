"""`secure ee …`: equivariant encryption from the command line. Thin layers over the functions of this package."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secure.cli.ee.options import AssumedTier, KeyOption, PassphraseOption, assumption, byte_bar, key_from, unlocked
from secure.cli.ee.serve_commands import add_commands
from secure.cli.help import examples
from secure.ee.files import claims
from secure.ee.files.checkpoint import open_checkpoint
from secure.ee.files.keyfile import write_key
from secure.ee.files.manifest import TIERS, EncryptionManifest
from secure.ee.files.passphrase import find_passphrase
from secure.ee.owner.adapter import ADAPTER_CONFIG, encrypt_adapter
from secure.ee.owner.decrypt import decrypt_checkpoint, rekey_checkpoint
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.ee.owner.tokenizer_files import write_encrypted_tokenizer
from secure.ee.owner.verify import verify_checkpoint
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.equivariant.key import Key

app = typer.Typer(
    name="ee",
    help="Equivariant encryption: a checkpoint that any engine serves at full speed on encrypted token ids.",
    epilog="In order: keygen, encrypt, serve at the server, proxy at the client. What it hides is in SECURITY.md.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
add_commands(app)

OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")]
EncryptedArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A folder made by secure ee encrypt.")]


class TensorType(StrEnum):
    """Types of the output's tensors."""

    FP64 = "float64"
    FP32 = "float32"
    FP16 = "float16"
    BF16 = "bfloat16"


_TYPES = {
    TensorType.FP64: torch.float64,
    TensorType.FP32: torch.float32,
    TensorType.FP16: torch.float16,
    TensorType.BF16: torch.bfloat16,
}


@app.command(epilog=examples("secure ee keygen --out model.key", "secure ee keygen --out model.key --clear"))
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
    key = Key.generate()
    write_key(out, key, passphrase)
    how = "in the clear" if clear else "under the passphrase"
    typer.echo(f"Key {key.check_value[:8]} is in {out}, {how}. Keep a copy; nothing else opens what it encrypts.")


@app.command(
    epilog=examples(
        "secure ee encrypt Llama-3.2-1B --key model.key --out encrypted",
        "secure ee encrypt Llama-3.2-1B --key model.key --out server --split client",
        "secure ee encrypt my-lora --base Llama-3.2-1B --onto encrypted --key model.key --out encrypted-lora",
    )
)
def encrypt(
    checkpoint: Annotated[Path, typer.Argument(help="A Hugging Face folder with safetensors, or a LoRA adapter's.")],
    key: KeyOption,
    out: OutOption,
    assume: Annotated[
        AssumedTier | None,
        typer.Option(
            help="Who must learn nothing: T0 who sees ids only, T1 also a server without the base weights, T2 one that "
            "has them; none, nobody. Default: the strongest that the red team has not broken."
        ),
    ] = None,
    base: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With an adapter: the plain checkpoint that it was trained on.")
    ] = None,
    onto: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With an adapter: what was made of that checkpoint.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A second new folder: the client keeps embedding and head.")
    ] = None,
    factor: Annotated[
        list[str] | None, typer.Option(help="Use this factor, and only those named. May be given several times.")
    ] = None,
    permutations: Annotated[
        bool, typer.Option("--permutations", help="Permute only: every value keeps its bits, less is hidden.")
    ] = False,
    keep_tie: Annotated[
        bool, typer.Option("--keep-tie", help="Keep a tied embedding tied: stored once, and less is hidden.")
    ] = False,
    noise: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Noise on weights, relative to each one's size. Costs accuracy.")
    ] = 0.0,
    fine_tuned: Annotated[
        bool, typer.Option("--fine-tuned", help="The weights have drifted, secretly, from any that the server has.")
    ] = False,
    dtype: Annotated[
        TensorType | None, typer.Option(help="Store tensors in this type; default: each in its own.")
    ] = None,
    shard_gb: Annotated[float, typer.Option(min=0.001, help="Most gigabytes in one file.")] = 5.0,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Encrypt a checkpoint, or a LoRA adapter for one, into a new folder for the server.

    The folder has the same architecture and shapes, and no tokenizer that a server could read. Nothing is left behind
    when it is interrupted.
    """
    secret = key_from(key, passphrase_file)
    if (checkpoint / ADAPTER_CONFIG).is_file():
        if base is None or onto is None:
            raise ConfigurationError(
                f"{checkpoint} is an adapter; name the plain checkpoint that it belongs to with --base, and the "
                "encrypted one with --onto"
            )
        encrypt_adapter(checkpoint, base, onto, secret, out)
        typer.echo(f"The adapter is encrypted in {out}, and goes onto {onto}.")
        return
    if base is not None or onto is not None:
        raise ConfigurationError(f"--base and --onto go with an adapter; {checkpoint} has no {ADAPTER_CONFIG}")
    with byte_bar() as progress:
        manifest = encrypt_checkpoint(
            checkpoint,
            secret,
            out,
            assume=assumption(assume),
            factors=factor,
            permutations=permutations,
            keep_tie=keep_tie,
            noise=noise,
            fine_tuned=fine_tuned,
            split=split,
            dtype=None if dtype is None else _TYPES[dtype],
            shard_bytes=int(shard_gb * 1e9),
            progress=progress,
        )
    typer.echo(
        f"{out} is encrypted with key {secret.check_value[:8]}: {manifest.family}, {', '.join(manifest.factors)}."
    )
    if split is not None:
        typer.echo(f"{split} has embedding and head: for the client alone, as secret as the checkpoint itself.")
    _say_claim(manifest)


@app.command(epilog=examples("secure ee decrypt encrypted --key model.key --out plain"))
def decrypt(
    folder: EncryptedArgument, key: KeyOption, out: OutOption, passphrase_file: PassphraseOption = None
) -> None:
    """Turn an encrypted checkpoint back into a plain one, with its tokenizer."""
    secret = key_from(key, passphrase_file)
    with byte_bar() as progress:
        done = decrypt_checkpoint(folder, secret, out, progress=progress)
    how = "bit for bit the base" if done.same_bits else "equal to the base up to rounding, with gains folded"
    typer.echo(f"{done.tensors} tensors are decrypted in {out}, {how}.")


@app.command(epilog=examples("secure ee rekey encrypted --key model.key --out encrypted2 --new-key model2.key"))
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
        fresh, manifest = rekey_checkpoint(folder, secret, out, progress=progress)
    write_key(new_key, fresh, passphrase)
    typer.echo(f"{out} has vocabulary {manifest.epoch}; its key {fresh.check_value[:8]} is in {new_key}.")
    typer.echo("A server that keeps the old folder, too, can align the two row by row; have it deleted.")


@app.command(
    epilog=examples(
        "secure ee verify encrypted",
        "secure ee verify encrypted --key model.key",
        "secure ee verify encrypted --key model.key --base Llama-3.2-1B",
    )
)
def verify(
    folder: EncryptedArgument,
    key: Annotated[Path | None, typer.Option("--key", metavar="KEY", help="Also check the key and the seal.")] = None,
    base: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also compare with what the key makes of this checkpoint.")
    ] = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Check that an encrypted folder is whole and untouched."""
    secret = None if key is None else key_from(key, passphrase_file)
    with byte_bar() as progress:
        findings = verify_checkpoint(folder, key=secret, base=base, progress=progress)
    table = Table(show_header=False, box=None, padding=(0, 2))
    for finding in findings:
        table.add_row("[green]ok[/green]", escape(finding.what), escape(finding.detail))
    Console().print(table)


@app.command(epilog=examples("secure ee tokenizer encrypted --key model.key --out client-tokenizer"))
def tokenizer(
    folder: EncryptedArgument, key: KeyOption, out: OutOption, passphrase_file: PassphraseOption = None
) -> None:
    """Write a tokenizer whose ids are the server's, for clients that use transformers alone.

    It spells the permutation out: whoever reads it reads the traffic. The folder is for you only, and never the server.
    """
    write_encrypted_tokenizer(open_checkpoint(folder, key_from(key, passphrase_file)), out)
    typer.echo(f"{out} has a tokenizer with encrypted ids. It is as secret as the key.")


def _say_claim(manifest: EncryptionManifest) -> None:
    """What is claimed, and who reads along all the same."""
    tier, configuration = manifest.tier, manifest.configuration
    claim = claims.require(tier, configuration)
    who = "nobody is kept out" if tier == "none" else claims.TIER_WORDS[tier]
    typer.echo(f"Assumed: {tier}, {who}. Configuration: {configuration}. {claim.notice}")
    # Without a tier the notice has told of the weakest already.
    for beyond in TIERS[1 if tier == "none" else TIERS.index(tier) + 1 :]:
        found = claims.find(beyond, configuration)
        if found.status == "broken":
            typer.echo(f"It does not hide from {claims.TIER_WORDS[beyond]} ({beyond}): {found.figure}.")
