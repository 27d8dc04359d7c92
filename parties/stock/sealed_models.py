"""Loaded models that outlive their process: what a role keeps of a model in memory, sealed, to be read as it is.

    models/DIGEST.sealed    header, manifest, and then the model, as `secure.models.storage.kept_model` writes it
    models/DIGEST.users     who uses the model

A matrix is opened under a mask once, when the model is loaded. What is sealed is what came of that, in the form in
which products are computed with it. So after a restart a role has its model under the masks that the others know. It
draws no mask of a load again, needs neither a share nor a seed for it, and opens nothing a second time.

A file is bound to the model and the role. Where anything is not as it was, the file is removed, and the model has to be
loaded anew, under new masks. The new file takes the old one's place in one step, so whoever is killed in between has
the old load or the new one; that all roles have the same one, every session compares.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from secure.models.storage.kept_model import Kept
from secure.parties.stock.key import StoreKey
from secure.parties.stock.sealed import UNFINISHED, SealedReader, SealedWriter, read_sealed, write_sealed
from secure.parties.transport.identity import Identity
from secure.protocols.core.channel import Payload
from secure.protocols.core.errors import DamagedFile

_SEALED, _USERS = ".sealed", ".users"
_LOG = logging.getLogger("parties")


@dataclass(frozen=True)
class LoadHeader:
    """What is public about one load."""

    load_id: str
    policy_digest: str


class SealedModels:
    """The sealed models of one role. Only a key that outlives the process makes them worth writing."""

    def __init__(self, folder: Path, key: StoreKey, role: str) -> None:
        self._folder = folder
        self._key = key.derived("models")
        self._role = role
        for path in folder.glob(f"*{UNFINISHED}"):
            path.unlink(missing_ok=True)

    @property
    def digests(self) -> list[str]:
        """Models of which there is a file."""
        return sorted(path.stem for path in self._folder.glob(f"*{_SEALED}"))

    def record(self, model_digest: str) -> Recording:
        """A new load's file, in place of the old one's once it is complete."""
        return Recording(self._path(model_digest, _SEALED), self._key, self._bound(model_digest, _SEALED))

    def read(self, model_digest: str) -> SealedLoad:
        """The load of a model. Raises DamagedFile and OSError."""
        bound = self._bound(model_digest, _SEALED)
        return SealedLoad(SealedReader(self._path(model_digest, _SEALED), self._key, bound))

    def write_users(self, model_digest: str, users: Iterable[Identity]) -> None:
        """Note who uses a model that is kept."""
        text = json.dumps(sorted([user.role, user.name] for user in users))
        path, bound = self._path(model_digest, _USERS), self._bound(model_digest, _USERS)
        if self._path(model_digest, _SEALED).exists():
            try:
                write_sealed(path, self._key, bound, [text.encode()])
            except OSError as error:
                _LOG.warning("users of model %s are not kept over a restart: %s", model_digest[:8], error.strerror)

    def users(self, model_digest: str) -> set[Identity]:
        """Who used a model. Nobody, where that is not known: the next who leaves it is the last one."""
        try:
            path, bound = self._path(model_digest, _USERS), self._bound(model_digest, _USERS)
            (text,) = read_sealed(path, self._key, bound)
        except (DamagedFile, OSError):
            return set()
        return {Identity(role, name) for role, name in json.loads(bytes(text))}

    def remove(self, model_digest: str) -> None:
        """Keep a model no longer."""
        for kind in (_SEALED, _USERS):
            self._path(model_digest, kind).unlink(missing_ok=True)

    def _path(self, model_digest: str, kind: str) -> Path:
        return self._folder / f"{model_digest}{kind}"

    def _bound(self, model_digest: str, kind: str) -> bytes:
        return f"{kind} of model {model_digest} at {self._role}".encode()


class Recording:
    """A load on its way to the disk. A disk that fails ends the recording, and not the load."""

    def __init__(self, path: Path, key: bytes, bound: bytes) -> None:
        self._path = path
        self._writer: SealedWriter | None = None
        with self._disk():
            self._writer = SealedWriter(path, key, bound)

    def begin(self, header: LoadHeader, manifest_json: str) -> None:
        """Say which load of which model it is."""
        self.add(json.dumps(vars(header)).encode())
        self.add(manifest_json.encode())

    def add(self, message: Payload) -> None:
        """What came next."""
        if self._writer is not None:
            with self._disk():
                self._writer.write(message)

    def commit(self) -> None:
        """The load is over, and this role's model from here on."""
        if self._writer is not None:
            with self._disk():
                self._writer.commit()
        if self._writer is None:
            self._path.unlink(missing_ok=True)  # of a load that is no longer this role's

    def discard(self) -> None:
        """Leave nothing behind of a load that failed, and the old one's file as it is."""
        if self._writer is not None:
            self._writer.discard()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or "its disk fails"
            _LOG.warning("model %s will not be kept over a restart: %s", self._path.stem[:8], reason)
            self.discard()
            self._writer = None


class SealedLoad(Kept):
    """A recorded load, read from its beginning."""

    def __init__(self, reader: SealedReader) -> None:
        """Raises DamagedFile and OSError, as all of its methods do."""
        self._reader = reader
        said = json.loads(bytes(self.message()))
        if set(said) != {each.name for each in fields(LoadHeader)}:
            raise DamagedFile("another version has written it")
        self.header = LoadHeader(**said)
        self.manifest_json = str(self.message(), "utf-8")

    def message(self) -> memoryview:
        message = self._reader.read()
        if message is None:
            raise DamagedFile("it holds less than its model takes; another version has written it")
        return message

    def fill(self, buffer: memoryview) -> None:
        self._reader.read_into(buffer)

    def finish(self) -> None:
        """The model has all that it takes."""
        if self._reader.read() is not None:
            raise DamagedFile("it holds more than its model takes; another version has written it")
        self._reader.close()


def kept_models(folder: Path, key: StoreKey, role: str) -> SealedModels | None:
    """Where this role keeps models over a restart; None where its key is gone then, and with it what it had sealed."""
    models = SealedModels(folder / "models", key, role)
    if key.outlives:
        return models
    for digest in models.digests:
        models.remove(digest)
    return None
