"""Whether an encrypted folder is what its manifest says, whether a key is its key, and whether it came from a base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from secure.ee.files.base import check_base, open_base, read_config
from secure.ee.files.checkpoint import SealedFiles
from secure.ee.files.folder import Step, TensorFolder, no_progress
from secure.ee.files.manifest import MANIFEST_NAME, read_manifest
from secure.ee.files.transforms import planned
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.key import Key

# A tensor is rounded once to its type. Another machine's linear algebra may differ in the last bits before that, so
# a value next to the middle between two numbers can round to either: one unit in the last place, of the largest value.
_UNITS = 2.0


@dataclass(frozen=True)
class Verified:
    """One thing that was checked and holds."""

    what: str
    detail: str


def verify_checkpoint(
    folder: Path, *, key: Key | None = None, base: Path | None = None, progress: Step = no_progress
) -> list[Verified]:
    """Check a folder. Without a key, a folder that was replaced together with its manifest goes unnoticed.

    Args:
        key: also check that it is the folder's key, and that the manifest is the one that was made with it.
        base: also encrypt every tensor of this checkpoint once more and compare; needs the key.

    Raises CheckpointError for the first thing that does not hold.
    """
    manifest = read_manifest(folder)
    manifest.check_files(folder)
    tensors = TensorFolder(folder) if manifest.mode in ("checkpoint", "split") else None
    count = "" if tensors is None else f", {len(tensors.specs)} tensors"
    findings = [Verified("files", f"{len(manifest.files)} files as their digests say{count}")]
    findings.append(
        Verified(
            "manifest", f"{manifest.family}, {', '.join(manifest.factors)}, tier {manifest.tier}, {manifest.dtype}"
        )
    )
    if key is not None:
        manifest.check_key(key)
        SealedFiles.open(folder, key)
        findings.append(
            Verified("key", f"is this folder's (check value {key.check_value[:8]}…); the manifest is sealed")
        )
    else:
        findings.append(Verified("key", f"not given, so {MANIFEST_NAME} itself is taken on trust"))
    if base is not None:
        if key is None:
            raise CheckpointError("comparing with the base needs the key")
        if tensors is None or manifest.mode != "checkpoint":
            raise CheckpointError(f"a folder of mode {manifest.mode!r} cannot be compared with its base")
        findings.append(_compare(tensors, folder, base, key, progress))
    return findings


def _compare(tensors: TensorFolder, folder: Path, base: Path, key: Key, progress: Step) -> Verified:
    manifest = read_manifest(folder)
    transform = planned(manifest, read_config(base), key)
    plain = open_base(base, transform)
    check_base(plain, transform, manifest, key, (base, folder), progress)
    total, done = sum(spec.size_bytes for spec in tensors.specs.values()), 0
    for name, spec in tensors.specs.items():
        progress(name, done, total)
        found, due = tensors(name).double(), transform.encrypt(name, plain).to(spec.dtype).double()
        # Whole numbers are copied.
        unit = torch.finfo(spec.dtype).eps if spec.dtype.is_floating_point else 0.0
        allowed = _UNITS * unit * float(due.abs().max() if due.numel() else 0)
        if found.shape != due.shape or bool(((found - due).abs() > allowed).any()):
            raise CheckpointError(f"tensor {name!r} of {folder} is not what the key makes of {base}")
        done += spec.size_bytes
    progress("done", total, total)
    return Verified("base", f"every tensor is what the key makes of {base}")
