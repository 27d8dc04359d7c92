"""From a Hugging Face checkpoint folder to fixed-point tensors, and from those to two share files.

Every key, shape, number and configuration value is checked here, before anything is sent or a share file is complete.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from secure.models.checkpoint.folder import file_digest, read_json
from secure.models.checkpoint.reader import CheckpointReader
from secure.models.contract.deferred import computed
from secure.models.contract.labels import LABELS_NAME, parse_labels, write_labels
from secure.models.contract.manifest import VISIBILITIES, Manifest, ParameterSpec, WeightVisibility, check_output_bits
from secure.models.contract.rehearsal import Rehearsal, rehearse
from secure.models.contract.tensor_file import FileTensorSpec, TensorFile
from secure.models.families.registry import architecture
from secure.models.storage.capacity import check_disk, file_specs
from secure.protocols.core.errors import BoundError, CheckpointError
from secure.protocols.core.family import Splitter
from secure.protocols.core.fixedpoint import FixedPointPolicy, encode
from secure.protocols.core.secret import Visibility
from secure.protocols.families import DEFAULT, family, those_with

MANIFEST_NAME = "manifest.json"
CLIENT_NAME = "client.safetensors"
_PART_ELEMENTS = 1 << 18  # of a tensor, converted and shared at a time
_INT32, _INT64 = "I32", "I64"
_SCALE_WEIGHTS = "scale the weights before it, where what follows does not see a factor, or take another checkpoint"
_LEAVE_OUT = "leave stream_exponent out, and one that fits is looked for"
_CLIENT_FILES = (
    "config.json",  # says how a text ends, where generation_config.json does not
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class Checkpoint:
    """A model in fixed point: only its owner ever has one.

    tensors: int64 by parameter name, as in manifest.parameters. embeddings: with public weights, the float tables that
    the client looks up itself. labels: a classifier's, for the client too. As `read_checkpoint` makes it, tensors are
    read and checked when they are asked for, and not kept.
    """

    manifest: Manifest
    tensors: Mapping[str, Tensor]
    embeddings: Mapping[str, Tensor]
    labels: dict[int, str] = field(default_factory=dict)


class _Encoded(Mapping[str, Tensor]):
    """A model's tensors in fixed point. Each is read, converted and checked at every access."""

    def __init__(self, floats: Mapping[str, Tensor], specs: Mapping[str, ParameterSpec], policy: FixedPointPolicy):
        self._floats, self._specs, self._policy = floats, specs, policy

    def __getitem__(self, name: str) -> Tensor:
        """Raises CheckpointError for numbers that are not finite or out of range."""
        spec = self._specs[name]
        bound_bits = spec.bound_bits(self._policy)
        values = computed(self._floats[name])
        encoded = torch.empty(spec.shape, dtype=torch.int64)
        try:
            for part, target in zip(_parts(values), _parts(encoded), strict=True):
                target.copy_(encode(part, spec.fraction_bits, bound_bits=bound_bits, what=f"parameter {name!r}"))
        except BoundError as error:
            raise CheckpointError(str(error)) from None
        return encoded

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


class _Tables(Mapping[str, Tensor]):
    """The client's float tables, read at their first use and then kept."""

    def __init__(self, floats: Mapping[str, Tensor]) -> None:
        self._floats = floats
        self._read: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._read:
            self._read[name] = computed(self._floats[name]).to(torch.float32)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._floats)

    def __len__(self) -> int:
        return len(self._floats)


def read_checkpoint(
    folder: Path | str,
    *,
    weights: WeightVisibility = "private",
    policy: FixedPointPolicy | None = None,
    head: bool = True,
    stream_exponent: int | None = None,
) -> Checkpoint:
    """Read and check a checkpoint folder (config.json and safetensors), but for the numbers in its tensors.

    head: whether to read the head that `architectures` names, too; without it the model is the encoder alone.
    stream_exponent: a language model's residual stream is held times 2^that; None for what
    `secure.models.families.residual_range` finds.

    Raises CheckpointError for a folder that is none, an unsupported architecture or configuration value, for a missing,
    unknown or misshapen tensor, and for a model that leaves the range of secure arithmetic, run on a few inputs in the
    clear: see `secure.models.contract.rehearsal`. Numbers in tensors are checked when a tensor is asked for.
    """
    folder, policy = Path(folder), policy or FixedPointPolicy()
    if weights not in VISIBILITIES:
        raise CheckpointError(f"weights is {weights!r}; known: {', '.join(VISIBILITIES)}")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} is no checkpoint folder: it has no config.json")
    raw_config = read_json(folder / "config.json")
    kind = architecture(raw_config.get("model_type"))
    config = kind.parse(raw_config, head=head)
    source = CheckpointReader(folder, kind)
    config = kind.fitted(config, source)
    config = kind.with_stream_exponent(config, stream_exponent or 0)
    floats = kind.from_checkpoint(config, source.take)
    source.check_copies(kind.copies(config))
    source.check_all_taken(kind.ignored(config))
    name = str(raw_config["model_type"])

    def rehearsed() -> Rehearsal:
        tensors = kind.from_checkpoint(config, partial(source.take, dtype=torch.float32))
        specs = kind.parameters(config, policy.fraction_bits, public=False)
        net = kind.network(Manifest(name, config.to_dict(), policy, "private", specs))
        return rehearse(net, tensors, kind.example(config, raw_config, tensors))

    seen = rehearsed()
    rehearsed_as = config
    if stream_exponent is None and (found := kind.stream_exponent(config, seen.norms, policy.value_bits)):
        config = kind.with_stream_exponent(config, found)
        floats = kind.from_checkpoint(config, source.take)
    config, refused = kind.with_small_rows(config, floats)
    if config != rehearsed_as:
        floats = kind.from_checkpoint(config, source.take)
        seen = rehearsed()
    seen.check(folder, _SCALE_WEIGHTS if stream_exponent is None else _LEAVE_OUT)
    specs = kind.parameters(config, policy.fraction_bits, public=weights == "public")
    tables = _Tables({name: floats[name] for name in sorted(set(floats) - set(specs))})
    manifest = Manifest(name, config.to_dict(), policy, weights, specs, refused_ids=refused)
    labels = parse_labels(raw_config) if config.labels else {}
    return Checkpoint(manifest, _Encoded(floats, specs, policy), tables, labels)


def _parts(tensor: Tensor) -> Sequence[Tensor]:
    """A tensor's rows, some at a time. Where it lies in one piece they are views."""
    rows = max(1, _PART_ELEMENTS // max(1, math.prod(tensor.shape[1:])))
    parts: Sequence[Tensor] = tensor.split(rows)
    return parts


def _shares(manifest: Manifest) -> Splitter:
    """What each computing role gets of one part of a tensor; (tensor, part) number it, each pair once.

    Shares with private weights, the part itself for whoever sees the weights, nothing for P0 beside an owner.
    """
    of_family = family(manifest.protocol)
    if manifest.weights == "private":
        return of_family.splitter()
    blind = ("p0",) if manifest.weights == "server" else ()
    return lambda tensor, number, part: tuple(() if role in blind else (part,) for role in of_family.computing)


def write_split(
    checkpoint: Checkpoint,
    out_dir: Path | str,
    *,
    copied: Sequence[Path] = (),
    protocol: str = DEFAULT.name,
    output_bits: int | None = None,
    checks_one_hot: bool = True,
) -> Manifest:
    """Write manifest.json and each computing party's ROLE.safetensors, readable by this user only.

    Returns the manifest, which names the protocol, and says whether parties check clients' one-hot vectors.

    With public weights the client looks its embeddings up itself, from client.safetensors. A classifier's labels are
    for the client, too, and so are files that are `copied` along. One tensor is in memory at a time. The manifest comes
    last: a folder without it is no model. output_bits: fraction bits that outputs leave with; by default the policy's.

    Raises CheckpointError for a tensor with numbers that cannot be served, and when the folder cannot be written or
    has no room. What was written is removed then.
    """
    out_dir = Path(out_dir)
    if output_bits is not None:
        check_output_bits(output_bits, checkpoint.manifest.policy)
    manifest = replace(
        checkpoint.manifest,
        protocol=family(protocol).name,
        output_bits=output_bits,
        checks_one_hot=checks_one_hot,
    )
    visibility = Visibility(manifest.weights)
    if visibility not in family(protocol).weights:
        serving = those_with(lambda each: visibility in each.weights)
        raise CheckpointError(f"weights={manifest.weights!r} is for the protocol {serving}, not {protocol!r}")
    shares = [f"{role}.safetensors" for role in family(protocol).computing]
    names = (MANIFEST_NAME, *shares, CLIENT_NAME, LABELS_NAME)
    written = [out_dir / name for name in (*names, *(path.name for path in copied))]
    try:
        out_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in written:
            path.unlink(missing_ok=True)
        check_disk(manifest, out_dir)
        digests = _write_shares(manifest, checkpoint.tensors, out_dir)
        if checkpoint.embeddings:
            specs = {name: FileTensorSpec(tuple(t.shape), torch.float32) for name, t in checkpoint.embeddings.items()}
            with TensorFile(out_dir / CLIENT_NAME, specs) as tables:
                for name in specs:
                    tables.write(name, checkpoint.embeddings[name])
        if checkpoint.labels:
            write_labels(out_dir, checkpoint.labels)
        for path in copied:
            shutil.copyfile(path, out_dir / path.name)
        manifest = replace(manifest, share_digests=digests)
        (out_dir / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
        return manifest
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise CheckpointError(f"cannot write the split checkpoint to {out_dir}: {reason}") from None
        raise


def _write_shares(manifest: Manifest, tensors: Mapping[str, Tensor], out_dir: Path) -> dict[str, str]:
    """All share files, tensor by tensor. Returns their digests."""
    share, roles = _shares(manifest), family(manifest.protocol).computing
    with ExitStack() as stack:
        files = [
            stack.enter_context(TensorFile(out_dir / f"{role}.safetensors", file_specs(manifest, role), private=True))
            for role in roles
        ]

        def write(number: int, name: str, tensor: Tensor) -> None:
            """Write one tensor. It is a function so that nothing of a tensor is left when the next one is read."""
            # Where a role holds several shares of a tensor, they lie whole, one behind the other, in its file.
            for part_number, part in enumerate((tensor,) if manifest.parts else _parts(tensor)):
                for file, held in zip(files, share(number, part_number, part), strict=True):
                    for of_role in held:
                        file.append(name, of_role)

        for number, name in enumerate(manifest.parameters):
            write(number, name, tensors[name])
    return {role: file.digest for role, file in zip(roles, files, strict=True)}


def split_checkpoint(
    folder: Path | str,
    out_dir: Path | str,
    *,
    weights: WeightVisibility = "private",
    head: bool = True,
    protocol: str = DEFAULT.name,
    stream_exponent: int | None = None,
    output_bits: int | None = None,
    checks_one_hot: bool = True,
) -> Manifest:
    """Read a checkpoint; write share files, manifest and, for the client, what goes with tokens or images."""
    beside = [path for name in _CLIENT_FILES if (path := Path(folder) / name).is_file()]
    checkpoint = read_checkpoint(folder, weights=weights, head=head, stream_exponent=stream_exponent)
    return write_split(
        checkpoint,
        out_dir,
        copied=beside,
        protocol=protocol,
        output_bits=output_bits,
        checks_one_hot=checks_one_hot,
    )


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of a split checkpoint's folder. Raises CheckpointError."""
    path = Path(folder) / MANIFEST_NAME
    if not path.is_file():
        raise CheckpointError(f"{folder} is no split checkpoint: it has no {MANIFEST_NAME}; make one with secure split")
    return Manifest.from_json(path.read_text(encoding="utf-8"))


class ShareFile(Mapping[str, Tensor]):
    """A party's tensors, each read when it is asked for: a model and its share file need not fit in memory together."""

    def __init__(self, path: Path, manifest: Manifest, role: str) -> None:
        """Raises CheckpointError when names, shapes or types are not those of the manifest."""
        self._path = path
        parameters = manifest.held_by(role)
        with safe_open(path, "pt") as file:
            if set(file.keys()) != set(parameters):
                raise CheckpointError(f"{path} holds other tensors than its manifest says")
            for name, spec in parameters.items():
                found, due = file.get_slice(name), _INT32 if spec.bits <= 32 else _INT64
                shape = (*manifest.parts, *spec.shape)
                if tuple(found.get_shape()) != shape or found.get_dtype() != due:
                    raise CheckpointError(f"{path}: tensor {name!r} is not {due} of shape {shape}")
        self._names = tuple(parameters)

    def __getitem__(self, name: str) -> Tensor:
        # Opened anew each time: while it is open, the whole file counts as this process's memory.
        with safe_open(self._path, "pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor.clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_share(path: Path | str, manifest: Manifest, role: str) -> ShareFile:
    """One party's tensors. Raises CheckpointError when the file is not the one that the manifest describes."""
    path = Path(path)
    try:
        digest = file_digest(path)
        if digest != manifest.share_digests.get(role):
            raise CheckpointError(f"{path} is not the share of {role} that the manifest describes (its hash differs)")
        return ShareFile(path, manifest, role)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
