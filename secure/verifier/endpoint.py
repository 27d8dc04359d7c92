"""A classifier behind HTTP as a service that a verifier can ask: the `/classify` of vLLM and SGLang."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from secure.http.asking import check_url, posted
from secure.models.contract.json_text import read_json


class ClassifyEndpoint:
    """Texts to rows of probabilities, by one POST: {"model": …, "input": [texts]} → {"data": [{"probs": […]}, …]}.

    vLLM answers so at `/classify`, SGLang at `/v1/classify`. OpenAI's API has nothing like it; for another server write
    a function that takes a list of texts and returns rows.
    """

    def __init__(
        self, url: str, model: str, *, headers: Mapping[str, str] | None = None, timeout_seconds: float = 60.0
    ) -> None:
        """url: all of it, http or https. headers: such as Authorization. Raises ConfigurationError for another url."""
        check_url(url)
        self._url = url
        self._model = model
        self._headers = dict(headers or {})
        self._timeout_seconds = timeout_seconds

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        """What the server calls probabilities, as it sent it: whoever asked checks it. No rows for another answer.

        Raises SessionError for a server that does not answer, or answers with an error.
        """
        asked = {"model": self._model, "input": list(texts)}
        content = posted(self._url, asked, self._headers, self._timeout_seconds, "the classifier")
        try:
            rows = sorted(read_json(content)["data"], key=lambda row: row["index"])
            return [row["probs"] for row in rows]
        except (ValueError, KeyError, TypeError):
            return []
