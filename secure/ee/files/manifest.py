"""encryption.json: what was done to a checkpoint, beside it. Everything in it may be published.

`files` has a digest of every other file of the folder, so a folder that is tampered with, half copied, or put together
from an encrypted and a plain one is noticed. `seal` is a MAC under the key over all other fields, so a client notices
a manifest that somebody replaced. `key_check` tells a wrong key before anything is sent. `base_seal` lets the owner
find out which base a folder was made from; without the key it cannot be compared with public checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from pydantic import TypeAdapter, ValidationError

from secure.ee.files.folder import write_json
from secure.ee.files.sealing import seal, seal_matches
from secure.models.checkpoint.folder import file_digest
from secure.models.contract.json_text import read_json
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.key import Key

MANIFEST_NAME = "encryption.json"
SEALED_NAME = "client.sealed"
"""The tokenizer, configuration and names of classes, which the client alone can read."""
FORMAT = "secure-inference ee 1"
Tier = Literal["T0", "T1", "T2"]
TIERS: tuple[Tier, ...] = get_args(Tier)
Assumption = Literal["none", "T0", "T1", "T2"]
"""The tier that a user needs; "none" needs nothing, and nothing is claimed."""
Mode = Literal["checkpoint", "split", "client", "adapter"]


@dataclass(frozen=True)
class EncryptionManifest:
    """The fields of encryption.json."""

    family: str
    factors: tuple[str, ...]
    permutations: bool
    """Whether every factor kept to its permutations."""
    keep_tie: bool
    """Whether the embedding stayed tied to the head."""
    noise: float
    """Standard deviation of the noise on each weight, relative to the weight's root mean square."""
    configuration: str
    """Which row of the red team's results this is: permutation, full, noise, finetuned or split."""
    mode: Mode
    """checkpoint: a whole model; split: the layers alone; client: its embedding and head; adapter: LoRA."""
    tier: Assumption
    """The threat tier that the owner assumed."""
    claim: str
    """What the red team measured for this tier and configuration; empty when nothing was."""
    tokens_limit: int | None
    """Most tokens of traffic under one key and epoch, by that measurement; None: no figure."""
    key_check: str
    epoch: int
    dtype: str
    """Types of the weights, as in safetensors, joined by a comma."""
    base_seal: str
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by file name."""
    seal: str = ""
    format: str = FORMAT

    def sealed(self, key: Key) -> EncryptionManifest:
        """With the seal that belongs to its fields."""
        return replace(self, seal=seal(key, "manifest", self._covered()))

    def check_key(self, key: Key) -> None:
        """Raises CheckpointError for another key, another epoch, and a manifest that was changed."""
        if key.check_value != self.key_check:
            epochs = "" if key.epoch == self.epoch else f" (its epoch is {self.epoch}, the key's is {key.epoch})"
            raise CheckpointError(
                f"wrong key: the checkpoint was encrypted with key {self.key_check[:8]}…{epochs}, this is "
                f"{key.check_value[:8]}…; nothing was sent"
            )
        if not seal_matches(key, "manifest", self._covered(), self.seal):
            raise CheckpointError(f"{MANIFEST_NAME} was changed after encryption; get the folder from its owner again")

    def check_same_model(self, other: EncryptionManifest, where: str) -> None:
        """Raises CheckpointError unless `other` was made of the same base in the same way; types and files may differ.

        One key may encrypt several checkpoints, so the check value alone does not tell them apart.
        """
        if self._made_of() != other._made_of():
            raise CheckpointError(
                f"{where} has another checkpoint, or one encrypted with other options, under the same key; name the "
                "folder and the server that belong together"
            )

    def check_files(self, folder: Path) -> None:
        """Raises CheckpointError naming a file that is missing, changed, or not part of the encrypted checkpoint."""
        for name in self.files:
            self.check_file(folder, name)
        known = {*self.files, MANIFEST_NAME}
        extra = sorted(path.name for path in folder.iterdir() if path.name not in known)
        if extra:
            raise CheckpointError(
                f"{folder} has {extra[0]}, which is not part of the encrypted checkpoint; move it out, lest something "
                "unencrypted is served or copied along"
            )

    def check_file(self, folder: Path, name: str) -> None:
        """Raises CheckpointError when a file is missing or changed."""
        if name not in self.files or not (folder / name).is_file():
            raise CheckpointError(f"{folder} is incomplete: it has no {name}; copy it again")
        if file_digest(folder / name) != self.files[name]:
            raise CheckpointError(
                f"{folder / name} is not the file that was encrypted: it was changed, cut short, or is not encrypted; "
                "copy it again"
            )

    def save(self, folder: Path) -> None:
        """Write encryption.json."""
        write_json(folder / MANIFEST_NAME, asdict(self))

    def _made_of(self) -> tuple[object, ...]:
        return self.base_seal, self.family, self.factors, self.permutations, self.keep_tie, self.noise

    def _covered(self) -> bytes:
        fields = asdict(self)
        del fields["seal"]
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


_ADAPTER = TypeAdapter(EncryptionManifest)


def read_manifest(folder: Path) -> EncryptionManifest:
    """The manifest of an encrypted checkpoint. Raises CheckpointError."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise CheckpointError(f"{folder} is no encrypted checkpoint: it has no {MANIFEST_NAME}")
    try:
        return parse_manifest(path.read_text(encoding="utf-8"))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def parse_manifest(text: str) -> EncryptionManifest:
    """A manifest from its text, such as a server describes itself with. Raises CheckpointError."""
    try:
        fields = read_json(text)
        if isinstance(fields, dict) and fields.get("format") != FORMAT:
            raise CheckpointError(f"the format is {fields.get('format')!r}; this version reads {FORMAT!r}")
        manifest = _ADAPTER.validate_python(fields)
    except (ValueError, ValidationError):
        raise CheckpointError("it is no manifest of an encrypted checkpoint, or it is damaged") from None
    if any(Path(name).name != name for name in manifest.files):
        raise CheckpointError("it names files outside its folder")
    return manifest
