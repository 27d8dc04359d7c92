"""Who asks a server: nobody is asked, everybody has one key, or each caller has a name and a key of its own.

A request's caller is known to everything that works for it, by `asked`: whose turn is next, what a figure counts for,
and which sessions with the parties the answer is from.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import threading
import time
import tomllib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secure.http.openai_errors import RequestRefused
from secure.parties.transport.certificates.files import check_key_file
from secure.protocols.core.errors import ConfigurationError, ServerBusy

_LOG = logging.getLogger("secure.http")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_DAY_SECONDS = 86400


@dataclass(frozen=True)
class Caller:
    """Who asks. operator: whether it may see figures about all callers. requests_per_day: None for no limit."""

    name: str
    operator: bool = False
    requests_per_day: int | None = None


ANYBODY = Caller("anybody", operator=True)
"""Whoever has the one key, or asks where there is none."""


@dataclass(frozen=True)
class Asked:
    """One request at work. sessions: numbers of those that its answer is from, as they begin.

    gone: set when its caller has gone away, and nobody waits for an answer any more.
    """

    caller: Caller = ANYBODY
    sessions: list[int] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event, compare=False)


ASKED: ContextVar[Asked] = ContextVar("asked")
"""The request that a thread or task works for."""


def asked() -> Asked:
    """The request that this thread or task works for; anybody's, where it works for none."""
    return ASKED.get(None) or Asked()


class Callers(ABC):
    """Says whose a request is."""

    @abstractmethod
    def who(self, authorization: str) -> Caller:
        """authorization: the request's header. Raises RequestRefused for a key that is none, ServerBusy for one whose
        requests of today are used up."""


class Everybody(Callers):
    """No key is asked for."""

    def who(self, authorization: str) -> Caller:
        return ANYBODY


class OneKey(Callers):
    """One key for all."""

    def __init__(self, key: str) -> None:
        self._digest = _digest(key)

    def who(self, authorization: str) -> Caller:
        if not hmac.compare_digest(_sent(authorization), self._digest):
            raise _wrong_key()
        return ANYBODY


class KeysFile(Callers):
    """A TOML file with a table for each caller, which is read again when it has changed.

        [alice]
        key = "…"
        requests_per_day = 1000
        operator = true

    A changed file that is wrong changes nothing; the log says so. Requests are counted in memory, from midnight, UTC.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """clock: seconds since 1970. Raises ConfigurationError for a file that is wrong, or that others may read."""
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._day = 0
        self._used: Counter[str] = Counter()
        self._state = _state(path)
        self._known = _read(path)

    def who(self, authorization: str) -> Caller:
        sent, found = _sent(authorization), None
        # Each key is compared, so that the time tells nothing of which one was near.
        for digest, caller in self._current().items():
            if hmac.compare_digest(sent, digest):
                found = caller
        if found is None:
            raise _wrong_key()
        self._count(found)
        return found

    def _current(self) -> Mapping[bytes, Caller]:
        with self._lock:
            state = _state(self._path)
            if state != self._state:
                self._state = state
                try:
                    self._known = _read(self._path)
                    _LOG.info("the keys file was read again: %d callers", len(self._known))
                except ConfigurationError as error:
                    _LOG.warning("the keys file has changed and is not used: %s", error)
            return self._known

    def _count(self, caller: Caller) -> None:
        with self._lock:
            now = self._clock()
            if (day := int(now // _DAY_SECONDS)) != self._day:
                self._day = day
                self._used.clear()
            most = caller.requests_per_day
            if most is not None and self._used[caller.name] >= most:
                left = _DAY_SECONDS - now % _DAY_SECONDS
                raise ServerBusy(
                    f"{caller.name} has made {most} requests today, which is its quota; the next day begins in "
                    f"{left / 3600:.1f} hours, at midnight UTC",
                    left,
                )
            self._used[caller.name] += 1


def callers_with(api_key: str | None) -> Callers:
    """Everybody with this key; None asks for none."""
    return Everybody() if api_key is None else OneKey(api_key)


def _wrong_key() -> RequestRefused:
    return RequestRefused("the API key is missing or wrong", code="invalid_api_key", status=401)


def _sent(authorization: str) -> bytes:
    scheme, _, key = authorization.partition(" ")
    return _digest(key if scheme.lower() == "bearer" else "")


def _digest(key: str) -> bytes:
    """What is compared in a key's place: all are of one length."""
    return hashlib.sha256(key.encode()).digest()


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file's contents; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> dict[bytes, Caller]:
    """Digest of the key → caller. Raises ConfigurationError, which never has a key."""
    try:
        check_key_file(path)
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        # A parser's message could have a part of a key.
        raise ConfigurationError(f"the keys file {path} cannot be read as TOML") from None
    found: dict[bytes, Caller] = {}
    for name, table in tables.items():
        digest, caller = _caller(path, name, table)
        if digest in found:
            raise ConfigurationError(f"{path}: {found[digest].name} and {name} have the same key")
        found[digest] = caller
    if not found:
        raise ConfigurationError(f"{path} has no callers; write a table [NAME] with key = … for each")
    return found


def _caller(path: Path, name: str, table: Any) -> tuple[bytes, Caller]:
    if not _NAME.fullmatch(name) or name == ANYBODY.name:
        raise ConfigurationError(f"{path}: {name!r} is no name of a caller: 1 to 64 of letters, digits, and .@_-")
    if not isinstance(table, dict) or (unknown := sorted(table.keys() - {"key", "requests_per_day", "operator"})):
        what = f"has {unknown[0]!r}" if isinstance(table, dict) else "is no table"
        raise ConfigurationError(f"{path}: [{name}] {what}; there are key, requests_per_day and operator")
    key, most, operator = table.get("key"), table.get("requests_per_day"), table.get("operator", False)
    # Header values are ASCII, and a space would end the token.
    if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(f"{path}: the key of [{name}] is missing or has characters that a header cannot carry")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise ConfigurationError(f"{path}: requests_per_day of [{name}] must be a whole number above 0")
    if not isinstance(operator, bool):
        raise ConfigurationError(f"{path}: operator of [{name}] must be true or false")
    return _digest(key), Caller(name, operator, most)
