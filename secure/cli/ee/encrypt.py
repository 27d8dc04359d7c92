"""`secure ee encrypt`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from secure.cli.ee.options import AssumedTier, KeyOption, OutOption, PassphraseOption, byte_bar, key_from
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples
from secure.protocols.core.errors import ConfigurationError

if TYPE_CHECKING:
    import torch

with lazy_imports(__name__):
    from secure.ee.files import claims, manifest
    from secure.ee.owner import adapter
    from secure.ee.owner import encrypt as encryption
    from secure.models.contract import tensor_file

EXAMPLES = examples(
    "secure ee encrypt Llama-3.2-1B --key model.key --out encrypted",
    "secure ee encrypt Llama-3.2-1B --key model.key --out server --split client",
    "secure ee encrypt my-lora --base Llama-3.2-1B --onto encrypted --key model.key --out encrypted-lora",
)
StoredType = Literal["float64", "float32", "float16", "bfloat16"]


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
        StoredType | None, typer.Option(help="Store tensors in this type; default: each in its own.")
    ] = None,
    shard_gb: Annotated[float, typer.Option(min=0.001, help="Most gigabytes in one file.")] = 5.0,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Encrypt a checkpoint, or a LoRA adapter for one, into a new folder for the server.

    The folder has the same architecture and shapes, and no tokenizer that a server could read. Nothing is left behind
    when it is interrupted.
    """
    secret = key_from(key, passphrase_file)
    if (checkpoint / adapter.ADAPTER_CONFIG).is_file():
        if base is None or onto is None:
            raise ConfigurationError(
                f"{checkpoint} is an adapter; name the plain checkpoint that it belongs to with --base, and the "
                "encrypted one with --onto"
            )
        adapter.encrypt_adapter(checkpoint, base, onto, secret, out)
        typer.echo(f"The adapter is encrypted in {out}, and goes onto {onto}.")
        return
    if base is not None or onto is not None:
        raise ConfigurationError(f"--base and --onto go with an adapter; {checkpoint} has no {adapter.ADAPTER_CONFIG}")
    with byte_bar() as progress:
        made = encryption.encrypt_checkpoint(
            checkpoint,
            secret,
            out,
            assume=assume,
            factors=factor,
            permutations=permutations,
            keep_tie=keep_tie,
            noise=noise,
            fine_tuned=fine_tuned,
            split=split,
            dtype=_torch_type(dtype),
            shard_bytes=int(shard_gb * 1e9),
            progress=progress,
        )
    typer.echo(f"{out} is encrypted with key {secret.check_value[:8]}: {made.family}, {', '.join(made.factors)}.")
    if split is not None:
        typer.echo(f"{split} has embedding and head: for the client alone, as secret as the checkpoint itself.")
    _say_claim(made)


def _torch_type(name: StoredType | None) -> torch.dtype | None:
    return next((known for known in tensor_file.DTYPES if str(known) == f"torch.{name}"), None)


def _say_claim(made: manifest.EncryptionManifest) -> None:
    """What is claimed, and who reads along all the same."""
    tier, configuration = made.tier, made.configuration
    claim = claims.require(tier, configuration)
    who = "nobody is kept out" if tier == "none" else claims.TIER_WORDS[tier]
    typer.echo(f"Assumed: {tier}, {who}. Configuration: {configuration}. {claim.notice}")
    # Without a tier the notice has told of the weakest already.
    for beyond in manifest.TIERS[1 if tier == "none" else manifest.TIERS.index(tier) + 1 :]:
        found = claims.find(beyond, configuration)
        if found.status == "broken":
            typer.echo(f"It does not hide from {claims.TIER_WORDS[beyond]} ({beyond}): {found.figure}.")
