"""A checkpoint folder encrypted: streamed, tensor by tensor, into a folder that appears whole or not at all.

The output is an ordinary checkpoint without a tokenizer: config.json, generation_config.json and safetensors that any
engine loads. Beside them lie the manifest, and the client's files sealed under the key. In split mode the tables of
the vocabulary (embedding and head) go to a second folder, the client's own; the server's copy keeps one row of zeros
in their place, so that engines still load it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from secure.ee.files import claims
from secure.ee.files.base import base_seal, check_tensors, check_tokenizer, open_base, read_config
from secure.ee.files.folder import SHARD_BYTES, Step, TensorFolder, check_is_new, new_folder, no_progress
from secure.ee.files.manifest import Assumption, EncryptionManifest
from secure.ee.files.writer import Writer
from secure.models.contract.tensor_file import DTYPES, FileTensorSpec
from secure.models.families.registry import encrypted_family
from secure.protocols.core.errors import CheckpointError, ConfigurationError
from secure.protocols.equivariant.key import Key
from secure.protocols.equivariant.transform import Transform, plan

_GENERATIVE = ("ForCausalLM", "LMHeadModel")


@dataclass(frozen=True)
class EncryptionOptions:
    """How to encrypt."""

    assume: Assumption | None = None
    """The threat tier that is needed, refused when the red team has broken it for this configuration. "none" needs
    nothing. None takes the strongest that was not broken."""
    factors: tuple[str, ...] | None = None
    """None: all of the family's."""
    permutations: bool = False
    """Keep every factor to its permutations: every value keeps its bits, and less is hidden."""
    keep_tie: bool = False
    """Keep an embedding tied to the head: less to store, and less is hidden."""
    noise: float = 0.0
    """Standard deviation of noise on each weight, relative to the weight's root mean square. Costs accuracy."""
    fine_tuned: bool = False
    """Whether the weights have drifted, secretly, from any that the server has."""
    dtype: torch.dtype | None = None
    """Type of the output's tensors; None keeps each one's own."""
    shard_bytes: int = SHARD_BYTES
    """Most bytes in one file."""


def encrypt_checkpoint(
    base: Path,
    key: Key,
    out: Path,
    *,
    assume: Assumption | None = None,
    factors: Sequence[str] | None = None,
    permutations: bool = False,
    keep_tie: bool = False,
    noise: float = 0.0,
    fine_tuned: bool = False,
    split: Path | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Step = no_progress,
) -> EncryptionManifest:
    """Encrypt the checkpoint folder `base` into a new folder `out`.

    Args:
        assume, factors, permutations, keep_tie, noise, fine_tuned, dtype, shard_bytes: as in `EncryptionOptions`.
        split: a second new folder, for a client that keeps embedding and head.

    Raises CheckpointError for a base that cannot be encrypted, and ConfigurationError for a tier that does not hold and
    for an output that exists. Nothing is left behind then.
    """
    chosen = None if factors is None else tuple(factors)
    options = EncryptionOptions(assume, chosen, permutations, keep_tie, noise, fine_tuned, dtype, shard_bytes)
    for folder in (out, split):
        if folder is not None:
            check_is_new(folder)
    config = read_config(base)
    if split is not None:
        _check_generates(config)
    family = encrypted_family(config)
    transform = plan(
        family, config, key, factors=options.factors, noise=noise, permutations=permutations, keep_tie=keep_tie
    )
    if split is not None and transform.vocabulary is None:
        raise ConfigurationError("split mode needs the factor vocabulary: its tables are what the client keeps")
    configuration = configuration_of(config, key, transform, options, split is not None)
    tier = assume or claims.strongest(configuration)
    claim = claims.require(tier, configuration)
    tensors = open_base(base, transform)
    check_tensors(tensors, transform.base_tensors)
    check_tokenizer(base, transform)
    specs = output_specs(transform, tensors, dtype)
    manifest = EncryptionManifest(
        family=transform.family,
        factors=transform.factors,
        permutations=permutations,
        keep_tie=keep_tie,
        noise=noise,
        configuration=configuration,
        mode="checkpoint" if split is None else "split",
        tier=tier,
        claim=claim.figure,
        tokens_limit=claim.tokens_limit,
        key_check=key.check_value,
        epoch=key.epoch,
        dtype=",".join(sorted({DTYPES[spec.dtype] for spec in specs.values() if spec.dtype in DTYPES})),
        base_seal=base_seal(tensors, transform.base_tensors, key, progress),
    )
    with ExitStack() as stack:
        folder = stack.enter_context(new_folder(out))
        writer = Writer(base, _stored_as(config, transform, dtype), key, transform, tensors, specs, progress)
        if split is None:
            files = writer.whole(folder, shard_bytes)
        else:
            client = stack.enter_context(new_folder(split, private=True))
            files, client_side = writer.split(folder, client, shard_bytes)
            replace(manifest, mode="client", files=client_side).sealed(key).save(client)
        manifest = replace(manifest, files=files).sealed(key)
        manifest.save(folder)
    return manifest


def _check_generates(config: Mapping[str, Any]) -> None:
    names = config.get("architectures") or [""]
    if not str(names[0]).endswith(_GENERATIVE):
        raise CheckpointError(
            f"split mode keeps embedding and head of a model that generates at the client; {names[0]} does not generate"
        )


def _stored_as(config: Mapping[str, Any], transform: Transform, dtype: torch.dtype | None) -> dict[str, Any]:
    """config.json of the encrypted checkpoint, with the base's ids still."""
    changed = dict(config) | transform.config_changes
    if dtype is not None:
        name = str(dtype).removeprefix("torch.")
        changed |= {field: name for field in ("dtype", "torch_dtype") if field in changed}
    return changed


def configuration_of(
    config: Mapping[str, Any], key: Key, transform: Transform, options: EncryptionOptions, split: bool
) -> str:
    """The row of the red team's results for this transform."""
    every = set(transform.factors) == set(plan(encrypted_family(config), config, key).factors)
    full = every and not options.permutations and not options.keep_tie
    return claims.configuration_name(full=full, noise=options.noise, fine_tuned=options.fine_tuned, split=split)


def output_specs(transform: Transform, tensors: TensorFolder, dtype: torch.dtype | None) -> dict[str, FileTensorSpec]:
    """Shapes and types of the encrypted tensors: each one's own type, or that of the largest tensor for new ones.

    dtype: another type for all but whole numbers.
    """
    largest = max(transform.base_tensors, key=lambda name: tensors.specs[name].size_bytes)
    default = tensors.specs[largest].dtype
    specs = {}
    for name, shape in transform.tensors.items():
        own = tensors.specs[name].dtype if name in tensors.specs else default
        specs[name] = FileTensorSpec(tuple(shape), dtype if dtype is not None and own.is_floating_point else own)
    return specs
