"""Loaded models, resident in one role's memory, and who uses each. Some are kept over a restart, too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from secure.parties.stock.sealed_models import Recording, SealedModels
from secure.parties.transport.identity import Identity
from secure.parties.transport.wire_pb2 import Hello
from secure.protocols.core.errors import HandshakeError, ModelNotLoaded


@dataclass(frozen=True)
class StoredModel:
    """A model after its loading program. Its masks belong to the session that loaded it, hence the load id."""

    load_id: str
    policy_digest: str
    model: object


class ModelStore:
    """One model per digest, kept until the last of its users leaves, or its owner unloads it.

    A later load of the same digest replaces the earlier one, for the same users; running sessions keep theirs.
    """

    def __init__(self, role: str, sealed: SealedModels | None = None) -> None:
        """sealed: where models are kept over a restart, if they are."""
        self._role = role
        self.sealed = sealed
        self._swapping = threading.Lock()
        self._models: dict[str, StoredModel] = {}
        self._users: dict[str, set[Identity]] = {}
        self._lock = threading.Lock()

    def load_id(self, model_digest: str) -> str:
        """The load session of this model, or '' when it is not loaded."""
        with self._lock:
            stored = self._models.get(model_digest)
        return stored.load_id if stored else ""

    @property
    def digests(self) -> list[str]:
        """Digests of the models that are loaded."""
        with self._lock:
            return sorted(self._models)

    def current(self, model_digest: str) -> StoredModel | None:
        """The model as it is loaded now; None where it is not."""
        with self._lock:
            return self._models.get(model_digest)

    @contextmanager
    def recording(self, model_digest: str) -> Iterator[Recording | None]:
        """The record of a load, which `put` keeps. None where models are gone with the process."""
        record = None if self.sealed is None else self.sealed.record(model_digest)
        try:
            yield record
        finally:
            if record is not None:
                record.discard()

    def put(self, model_digest: str, stored: StoredModel, record: Recording | None = None) -> None:
        """From here on this is the model of that digest, on the disk as in memory."""
        with self._swapping:
            if record is not None:
                record.commit()
            with self._lock:
                self._models[model_digest] = stored

    def take_up(self, model_digest: str, stored: StoredModel, users: set[Identity]) -> None:
        """A model of the process before this one."""
        with self._lock:
            self._models[model_digest], self._users[model_digest] = stored, users

    def join(self, model_digest: str, user: Identity) -> None:
        """Count one who uses the model. Whoever loads one again is counted once."""
        with self._lock:
            users = self._users.setdefault(model_digest, set())
            users.add(user)
            if self.sealed is not None:
                self.sealed.write_users(model_digest, users)

    def leave(self, model_digest: str, user: Identity) -> None:
        """Forget a user, and the model with the last one. The owner takes it from all.

        Leaving a model that one does not use is no error, and changes nothing.
        """
        with self._lock:
            users = self._users.get(model_digest, set())
            if user.is_owner:
                users.clear()
            users.discard(user)
            if not users:
                self._users.pop(model_digest, None)
                self._models.pop(model_digest, None)
            if self.sealed is not None and users:
                self.sealed.write_users(model_digest, users)
            elif self.sealed is not None:
                self.sealed.remove(model_digest)

    def get(self, hello: Hello) -> StoredModel:
        """The model that a session asks for.

        Raises ModelNotLoaded where there is none, or one of another load, and HandshakeError for another policy.
        """
        with self._lock:
            stored = self._models.get(hello.model_digest)
        # Which load there is instead is nothing to tell to whoever does not know it.
        if stored is None or stored.load_id != hello.load_id:
            raise ModelNotLoaded(
                f"{self._role} has no model {hello.model_digest[:12]} in memory as it was loaded by this client: since "
                f"then, {self._role} was restarted, or it was unloaded or loaded anew; load the model again (reload)"
            )
        if stored.policy_digest != hello.policy_digest:
            where = f"{self._role} (load the model again)"
            raise HandshakeError("policy digest", stored.policy_digest, hello.policy_digest, where)
        return stored
