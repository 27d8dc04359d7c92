"""Loaded models, resident in one role's memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from secure.parties.transport.wire_pb2 import Hello
from secure.protocols.core.errors import HandshakeError, SessionError


@dataclass(frozen=True)
class StoredModel:
    """A model after its loading program. Its masks belong to the session that loaded it, hence the load id."""

    load_id: str
    policy_digest: str
    model: object


class ModelStore:
    """One model per digest. A later load of the same digest replaces the earlier one; running sessions keep theirs."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._models: dict[str, StoredModel] = {}
        self._lock = threading.Lock()

    def load_id(self, model_digest: str) -> str:
        """The load session of this model, or '' when it is not loaded."""
        with self._lock:
            stored = self._models.get(model_digest)
        return stored.load_id if stored else ""

    def put(self, model_digest: str, stored: StoredModel) -> None:
        with self._lock:
            self._models[model_digest] = stored

    def drop(self, model_digest: str) -> None:
        """Forget a model; forgetting one that is not there is no error."""
        with self._lock:
            self._models.pop(model_digest, None)

    def get(self, hello: Hello) -> StoredModel:
        """The model that a session asks for. Raises SessionError where there is none, HandshakeError for another."""
        with self._lock:
            stored = self._models.get(hello.model_digest)
        where = f"{self._role} (load the model again)"
        if stored is None:
            raise SessionError(
                f"{self._role} has no model {hello.model_digest[:12]} in memory: since it was loaded, {self._role} was "
                "restarted, or a client unloaded it; load the model again"
            )
        if stored.load_id != hello.load_id:
            raise HandshakeError("load id", stored.load_id, hello.load_id, where)
        if stored.policy_digest != hello.policy_digest:
            raise HandshakeError("policy digest", stored.policy_digest, hello.policy_digest, where)
        return stored
