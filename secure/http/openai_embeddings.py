"""/v1/embeddings in OpenAI's format: requests, checked and frozen, and answers."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secure.http.openai_fields import RequestFields, wrong
from secure.http.openai_requests import Wishes, prompts_of, wishes_of


@dataclass(frozen=True)
class Embeddings:
    """inputs: texts, or lists of ids. base64: whether vectors travel as little-endian float32 in base64."""

    wishes: Wishes
    inputs: list[str] | list[list[int]]
    base64: bool


def embeddings(fields: RequestFields, names: Sequence[str], *, text: bool) -> Embeddings:
    """text: whether inputs may be texts. Raises RequestRefused."""
    wishes = wishes_of(fields, names, text=text, default_tokens=None)
    if wishes.stream or wishes.answers > 1:
        raise wrong("stream" if wishes.stream else "n", "embeddings come at once, one for each input")
    inputs = prompts_of(fields.take("input"), text, "input")
    kind = fields.take("encoding_format") or "float"
    if kind not in ("float", "base64"):
        raise wrong("encoding_format", "float or base64 is needed")
    if fields.take("dimensions") is not None:
        raise wrong("dimensions", "this model's embeddings have the size that they have; leave it out")
    fields.refuse_the_rest()
    return Embeddings(wishes, inputs, kind == "base64")


def embedding_answer(wanted: Embeddings, vectors: Sequence[Sequence[float]], tokens: int) -> dict[str, Any]:
    """The answer. tokens: of all inputs together."""
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector) if wanted.base64 else list(vector)}
        for index, vector in enumerate(vectors)
    ]
    used = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": wanted.wishes.model, "usage": used}


def _encoded(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
