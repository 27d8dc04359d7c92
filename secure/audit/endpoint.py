"""A server behind OpenAI's API as one that is audited: embeddings, or the likeliest next tokens after a text."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

from secure.audit.compare import MOST_TOKENS, Answer, Kind, vectors
from secure.http.asking import check_url, posted
from secure.models.contract.json_text import read_json
from secure.protocols.core.errors import ConfigurationError

_EVENT = b"data:"


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
        return answer_in("embedding", self._post("/embeddings", {"input": [text]}))

    def _next_token(self, text: str) -> Answer:
        wanted = {"prompt": text, "max_tokens": 1, "temperature": 0, "logprobs": self._told}
        return answer_in("next_token", self._post("/completions", wanted), self._told)

    def _post(self, path: str, value: dict[str, Any]) -> bytes:
        return posted(self._url + path, {"model": self._model, **value}, self._headers, self._seconds, "the server")


def answer_in(kind: Kind, content: bytes, told: int = MOST_TOKENS) -> Answer:
    """The answer to one text in what a server sent: JSON, or a stream of events, whose first token counts.

    told: how many likeliest tokens were asked for. A server tells the one that it drew, too, which may be none of them.

    There are no numbers where that is not of OpenAI's format.
    """
    events = [line[len(_EVENT) :] for line in content.splitlines() if line.startswith(_EVENT)]
    for part in events or [content]:
        try:
            document = read_json(part)
            if kind == "embedding":
                return vectors([_numbers(document["data"][0]["embedding"])])[0]
            found = document["choices"][0]["logprobs"]["top_logprobs"][0]
            likeliest = sorted(((float(value), str(name)) for name, value in found.items()), reverse=True)[:told]
            return Answer(tuple(value for value, _ in likeliest), tuple(name for _, name in likeliest))
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            continue
    return Answer(())


def _numbers(embedding: Any) -> Sequence[float]:
    """Numbers, or those that were sent as base64 of float32, which OpenAI's own client asks for."""
    if not isinstance(embedding, str):
        return list(embedding)
    data = base64.b64decode(embedding, validate=True)
    return struct.unpack(f"<{len(data) // 4}f", data)
