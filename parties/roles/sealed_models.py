"""Loaded models that outlive their process: what a load was made of, sealed, to be run again without a message.

    models/DIGEST.sealed    header, manifest, the load's seeds, the share if it was uploaded, and what peers had sent
    models/DIGEST.users     who uses the model

A matrix is opened under a mask once, when the model is loaded. After a restart the loading program runs again from the
same seeds; what the peers had sent then comes from the file, and what it would send goes nowhere. So a role has its
model under the masks that the others know, and nothing is opened a second time.

A file is bound to the model and the role, and the manifest says which share belongs to it: the same mask over a share
of other weights would tell their difference. Where anything is not as it was, the file is removed, and the model has to
be loaded anew, under new masks. The new file takes the old one's place in one step, so whoever is killed in between has
the old load or the new one; that all roles have the same one, every session compares.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from secure.parties.stock.key import StoreKey
from secure.parties.stock.sealed import UNFINISHED, SealedWriter, read_sealed, write_sealed
from secure.parties.transport.identity import Identity
from secure.protocols.core.channel import Channel, Payload
from secure.protocols.core.errors import DamagedFile

_SEALED, _USERS = ".sealed", ".users"
_CHUNK_BYTES = 1 << 24
_LOG = logging.getLogger("parties")


@dataclass(frozen=True)
class LoadHeader:
    """What is public about one load. uploaded_bytes: of a share that was uploaded, or -1 where there is none."""

    load_id: str
    policy_digest: str
    uploaded_bytes: int


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
        return SealedLoad(self._messages(model_digest, _SEALED))

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
            (text,) = self._messages(model_digest, _USERS)
        except (DamagedFile, OSError):
            return set()
        return {Identity(role, name) for role, name in json.loads(bytes(text))}

    def remove(self, model_digest: str) -> None:
        """Keep a model no longer."""
        for kind in (_SEALED, _USERS):
            self._path(model_digest, kind).unlink(missing_ok=True)

    def _messages(self, model_digest: str, kind: str) -> Iterator[memoryview]:
        return read_sealed(self._path(model_digest, kind), self._key, self._bound(model_digest, kind))

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

    def begin(self, header: LoadHeader, manifest_json: str, secrets: bytes, share: Path | None) -> None:
        """share: the file of one that was uploaded."""
        self.add(json.dumps(vars(header)).encode())
        self.add(manifest_json.encode())
        self.add(secrets)
        if share is not None:
            with share.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    self.add(chunk)

    def add(self, message: Payload) -> None:
        """What came next."""
        if self._writer is not None:
            with self._disk():
                self._writer.write(message)

    def channel(self, inner: Channel) -> Channel:
        """A channel of which everything is recorded that it receives."""
        return _Recorded(inner, self)

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


class _Recorded(Channel):
    """A channel to a peer, and a record of what comes from it."""

    def __init__(self, inner: Channel, recording: Recording) -> None:
        self.peer = inner.peer
        self._inner = inner
        self._recording = recording

    def send(self, payload: Payload) -> None:
        self._inner.send(payload)

    def receive(self) -> memoryview:
        message = self._inner.receive()
        self._recording.add(message)
        return message


class SealedLoad(Channel):
    """A recorded load: in the place of every peer, it gives what they had sent, in order, and sends nothing on."""

    peer = "the record of its load"

    def __init__(self, messages: Iterator[memoryview]) -> None:
        """Raises DamagedFile and OSError, as all of its methods do."""
        self._messages = messages
        self.header = LoadHeader(**json.loads(bytes(self.receive())))
        self.manifest_json = str(self.receive(), "utf-8")
        self.secrets = bytes(self.receive())

    def write_share(self, file: BinaryIO) -> None:
        """Write the share that was uploaded to a file."""
        left = self.header.uploaded_bytes
        while left > 0:
            left -= file.write(self.receive())
        file.flush()

    def send(self, payload: Payload) -> None:
        """The peers have had it."""

    def receive(self) -> memoryview:
        message = next(self._messages, None)
        if message is None:
            raise DamagedFile("it holds less than its model takes; another version has written it")
        return message

    def finish(self) -> None:
        """The model has all that it takes."""
        if next(self._messages, None) is not None:
            raise DamagedFile("it holds more than its model takes; another version has written it")
