"""Logarithms of tokens' probabilities in OpenAI's two formats: of completions, and of chats and responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from secure.http.backend import TokenLikelihood

_LEAST = -9999.0
"""Stands for a probability of zero, whose logarithm JSON cannot spell."""


def of_completion(told: Sequence[TokenLikelihood]) -> dict[str, Any]:
    """Lists side by side, with an object from token to logarithm for each place."""
    return {
        "tokens": [each.text for each in told],
        "token_logprobs": [_finite(each) for each in told],
        # The token itself is among them, likely or not.
        "top_logprobs": [{other.text: _finite(other) for other in (*each.likeliest, each)} for each in told],
        "text_offset": [each.offset for each in told],
    }


def of_chat(told: Sequence[TokenLikelihood]) -> dict[str, Any]:
    """One object for each token."""
    return {"content": entries(told), "refusal": None}


def entries(told: Sequence[TokenLikelihood]) -> list[dict[str, Any]]:
    """One object for each token, with one for each of the likeliest in it."""
    return [_entry(each) | {"top_logprobs": [_entry(other) for other in each.likeliest]} for each in told]


def _entry(token: TokenLikelihood) -> dict[str, Any]:
    data = None if token.data is None else list(token.data)
    return {"token": token.text, "logprob": _finite(token), "bytes": data}


def _finite(token: TokenLikelihood) -> float:
    return max(token.logprob, _LEAST)
