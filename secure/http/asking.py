"""Asking somebody else's server over HTTP: one POST of JSON, with errors that say what to do."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from secure.protocols.core.errors import ConfigurationError, SessionError

_MOST_BYTES = 64 << 20
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_url(url: str, *, with_key: bool = False) -> None:
    """Raise ConfigurationError for what is no address of a server, and for one on which a key would travel in clear."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{url!r} is no address of a server: it must begin with http:// or https://")
    if with_key and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ConfigurationError(f"{url}: the API key would travel in clear; use https")


def posted(url: str, value: Mapping[str, Any], headers: Mapping[str, str], seconds: float, what: str) -> bytes:
    """What a server answers.

    what: the server, for errors. Raises SessionError for one that does not answer, or answers with an error.
    """
    body = json.dumps(value).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as reply:
            return bytes(reply.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        why = f"HTTP status {error.code}"
    except urllib.error.URLError as error:
        why = str(error.reason)
    except OSError as error:
        why = type(error).__name__
    raise SessionError(f"{what} at {url} gave no answer ({why}); check that it runs and that its address is right")
