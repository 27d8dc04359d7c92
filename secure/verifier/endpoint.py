"""A classifier behind HTTP as a service that a verifier can ask: the `/classify` of vLLM and SGLang."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from secure.protocols.core.errors import ConfigurationError, SessionError

_MOST_BYTES = 64 * 2**20


class ClassifyEndpoint:
    """Texts to rows of probabilities, by one POST: {"model": …, "input": [texts]} → {"data": [{"probs": […]}, …]}.

    vLLM answers so at `/classify`, SGLang at `/v1/classify`. OpenAI's API has nothing like it; for another server write
    a function that takes a list of texts and returns rows.
    """

    def __init__(
        self, url: str, model: str, *, headers: Mapping[str, str] | None = None, timeout_seconds: float = 60.0
    ) -> None:
        """url: all of it, http or https. headers: such as Authorization. Raises ConfigurationError for another url."""
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{url!r} is no address of a server: it must begin with http:// or https://")
        self._url = url
        self._model = model
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._timeout_seconds = timeout_seconds

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        """What the server calls probabilities, as it sent it: whoever asked checks it. No rows for another answer.

        Raises SessionError for a server that does not answer, or answers with an error.
        """
        body = json.dumps({"model": self._model, "input": list(texts)}).encode()
        request = urllib.request.Request(self._url, body, self._headers)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_seconds) as reply:
                content = reply.read(_MOST_BYTES)
        except urllib.error.HTTPError as error:
            raise self._silent(f"HTTP status {error.code}") from None
        except urllib.error.URLError as error:
            raise self._silent(str(error.reason)) from None
        except OSError as error:
            raise self._silent(type(error).__name__) from None
        try:
            rows = sorted(json.loads(content)["data"], key=lambda row: row["index"])
            return [row["probs"] for row in rows]
        except (ValueError, KeyError, TypeError):
            return []

    def _silent(self, why: str) -> SessionError:
        return SessionError(
            f"the classifier at {self._url} gave no answer ({why}); check that it runs and that its address is right"
        )
