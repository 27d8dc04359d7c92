"""An encrypted checkpoint's next vocabulary, made by itself beside the folder that is in use."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from secure.ee.files.checkpoint import OpenedCheckpoint, open_checkpoint
from secure.ee.files.keyfile import write_key
from secure.ee.files.manifest import Assumption
from secure.ee.owner.decrypt import rekey_checkpoint
from secure.protocols.core.errors import ConfigurationError

_EPOCH = re.compile(r"\.epoch[0-9]+$")
_LOG = logging.getLogger("secure.ee")


@dataclass(frozen=True)
class KeyFile:
    """Where a key came from, and what opened it; keys of later epochs are written beside it."""

    path: Path
    passphrase: str | None


class NextEpochs:
    """The vocabularies after a checkpoint's own: `model.epoch1` beside `model`, `my.epoch1.key` beside `my.key`."""

    def __init__(
        self, checkpoint: OpenedCheckpoint, tensors: Path, tier: Assumption, key_file: KeyFile | None = None
    ) -> None:
        """tensors: the encrypted folder, where `checkpoint` may be a copy of its small files.

        Raises ConfigurationError where another vocabulary would hide nothing, or cannot be made.
        """
        manifest = checkpoint.manifest
        if tier not in ("none", "T0"):
            raise ConfigurationError(
                f"rekeying the vocabulary does not help at {tier}: a server that keeps both checkpoints aligns them "
                "row by row. Refuse instead, and encrypt under a new key"
            )
        missing = [name for name in manifest.files if not (tensors / name).is_file()]
        if manifest.mode != "checkpoint" or checkpoint.vocabulary is None or missing:
            what = f"{missing[0]} is not there" if missing else "there is no whole vocabulary to move"
            raise ConfigurationError(f"{tensors} cannot be rekeyed: {what}; use the whole encrypted folder, or refuse")
        self._first = checkpoint
        self._tensors = tensors
        self._key_file = key_file

    def latest(self) -> OpenedCheckpoint:
        """The last vocabulary that was made, in this run or an earlier one, which a server may have by now."""
        found = self._first
        while (folder := self._after(found)).is_dir():
            found = open_checkpoint(folder, found.key.rekeyed())
        return found

    def make(self, spent: OpenedCheckpoint) -> OpenedCheckpoint:
        """The vocabulary after `spent`. Raises ConfigurationError where it cannot be written, and CheckpointError."""
        key, out = spent.key.rekeyed(), self._after(spent)
        if self._key_file is not None:
            path = self._key_file.path
            path = path.with_name(_named(path.stem, key.epoch) + path.suffix)
            # It stays where a run ended between the two.
            if not path.exists():
                write_key(path, key, self._key_file.passphrase)
        rekey_checkpoint(self._folder(spent), spent.key, out)
        _LOG.warning("the vocabulary was rekeyed into %s; whatever serves the model must serve that folder", out)
        return open_checkpoint(out, key)

    def _folder(self, checkpoint: OpenedCheckpoint) -> Path:
        return self._tensors if checkpoint is self._first else checkpoint.folder

    def _after(self, checkpoint: OpenedCheckpoint) -> Path:
        folder = self._folder(checkpoint)
        return folder.with_name(_named(folder.name, checkpoint.key.epoch + 1))


def _named(name: str, epoch: int) -> str:
    return f"{_EPOCH.sub('', name)}.epoch{epoch}"
