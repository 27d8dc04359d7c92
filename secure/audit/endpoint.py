"""A server behind OpenAI's API as one that is audited: embeddings, or the likeliest next tokens after a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from secure.audit.compare import Answer, Kind, vectors
from secure.http.asking import check_url, posted
from secure.protocols.core.errors import ConfigurationError


class Endpoint:
    """Asks one text at a time: `/embeddings`, or `/completions` for one token with its log-probabilities.

    A server sees what any client of it sends, but not every client asks for log-probabilities: where yours do not,
    such requests stand out.
    """

    def __init__(
        self, url: str, model: str, kind: Kind, *, api_key: str | None = None, told: int = 5, seconds: float = 120.0
    ) -> None:
        """url: as clients write it, with /v1. told: how many likeliest tokens are asked for; OpenAI's limit is 5.

        Raises ConfigurationError for another url, one on which an API key would travel in clear, and for classes, which
        OpenAI's API does not have.
        """
        check_url(url, with_key=api_key is not None)
        if kind == "classes":
            raise ConfigurationError("OpenAI's API has no classes of texts; audit embeddings or a language model")
        self._url, self._model, self._kind = url.rstrip("/"), model, kind
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._told, self._seconds = told, seconds

    def __call__(self, texts: Sequence[str]) -> list[Answer]:
        """What the server answers; no numbers where that is not of OpenAI's format.

        Raises SessionError for a server that does not answer, or answers with an error.
        """
        return [self._embedding(text) if self._kind == "embedding" else self._next_token(text) for text in texts]

    def _embedding(self, text: str) -> Answer:
        document = self._post("/embeddings", {"input": [text]})
        try:
            return vectors([document["data"][0]["embedding"]])[0]
        except (KeyError, IndexError, TypeError, ValueError):
            return Answer(())

    def _next_token(self, text: str) -> Answer:
        wanted = {"prompt": text, "max_tokens": 1, "temperature": 0, "logprobs": self._told}
        document = self._post("/completions", wanted)
        try:
            told = document["choices"][0]["logprobs"]["top_logprobs"][0]
            return Answer(tuple(float(value) for value in told.values()), tuple(str(name) for name in told))
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            return Answer(())

    def _post(self, path: str, value: dict[str, Any]) -> Any:
        content = posted(self._url + path, {"model": self._model, **value}, self._headers, self._seconds, "the server")
        try:
            return json.loads(content)
        except ValueError:
            return None
