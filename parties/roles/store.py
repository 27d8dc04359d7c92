"""Loaded models, resident in one role's memory, and who uses each."""

from __future__ import annotations

import threading
from dataclasses import dataclass

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

    def __init__(self, role: str) -> None:
        self._role = role
        self._models: dict[str, StoredModel] = {}
        self._users: dict[str, set[Identity]] = {}
        self._lock = threading.Lock()

    def load_id(self, model_digest: str) -> str:
        """The load session of this model, or '' when it is not loaded."""
        with self._lock:
            stored = self._models.get(model_digest)
        return stored.load_id if stored else ""

    def put(self, model_digest: str, stored: StoredModel) -> None:
        with self._lock:
            self._models[model_digest] = stored

    def join(self, model_digest: str, user: Identity) -> None:
        """Count one who uses the model. Whoever loads one again is counted once."""
        with self._lock:
            self._users.setdefault(model_digest, set()).add(user)

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
