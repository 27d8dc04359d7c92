"""What one client may take of a role: sessions at a time, and predictions and bytes a day."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from secure.models.storage.capacity import human_bytes
from secure.parties.config import Quota
from secure.parties.transport.identity import Identity
from secure.protocols.core.errors import ServerBusy

_DAY_SECONDS = 86400


@dataclass
class _Used:
    predictions: int = 0
    bytes: int = 0


class Quotas:
    """What each client has taken since midnight, UTC. It is in memory, and begins anew with the process."""

    def __init__(self, role: str, quota: Quota, clock: Callable[[], float] = time.time) -> None:
        """clock: seconds since 1970, of this role alone."""
        self._role = role
        self._quota = quota
        self._clock = clock
        self._day = 0
        self._used: dict[str, _Used] = {}
        self._lock = threading.Lock()

    def check(self, identity: Identity, sessions: int) -> None:
        """sessions: that the client has now. Raises ServerBusy, and when to come back, where a quota is used up.

        Owners and a party's own operator have none.
        """
        if identity.role != "client":
            return
        name, most = identity.name, self._quota
        if most.sessions is not None and sessions >= most.sessions:
            raise ServerBusy(
                f"{name} has {sessions} sessions at {self._role}, where its quota is {most.sessions} at a time; wait "
                "until one has ended",
                1.0,
            )
        with self._lock:
            used = self._of_today(name)
            if most.predictions_per_day is not None and used.predictions >= most.predictions_per_day:
                raise self._used_up(name, f"{used.predictions} predictions")
            if most.bytes_per_day is not None and used.bytes >= most.bytes_per_day:
                raise self._used_up(name, human_bytes(used.bytes))

    def count(self, identity: Identity, *, predictions: int = 0, moved_bytes: int = 0) -> None:
        """A client has taken so much more."""
        if identity.role != "client":
            return
        with self._lock:
            used = self._of_today(identity.name)
            used.predictions += predictions
            used.bytes += moved_bytes

    def _used_up(self, name: str, what: str) -> ServerBusy:
        seconds = _DAY_SECONDS - self._clock() % _DAY_SECONDS
        return ServerBusy(
            f"{name} has had {what} of {self._role} today, which is its quota for a day; the next day begins in "
            f"{seconds / 3600:.1f} hours, at midnight UTC",
            seconds,
        )

    def _of_today(self, name: str) -> _Used:
        """With the lock held."""
        day = int(self._clock() // _DAY_SECONDS)
        if day != self._day:
            self._day = day
            self._used.clear()
        return self._used.setdefault(name, _Used())
