"""Reads the fields of a request one by one.

A field that nobody reads is refused by name, unless it changes no answer: those that programs send beside, which
`IGNORED` lists, are dropped, and the answer's header `NOTE` names them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from secure.http.openai_errors import RequestRefused

NOTE = "secure-ignored-fields"
_LABELS = (
    "user",
    "metadata",
    "safety_identifier",
    "session_id",
    "chat_id",
    "message_id",
    "conversation_id",
    "trace_id",
)
"""They would tell the backend who asks."""
_SERVICE = (
    "prompt_cache_key",
    "prompt_cache_retention",
    "cache_prompt",
    "keep_alive",
    "store",
    "service_tier",
    "provider",
)
"""What a service keeps or caches, and what it charges."""
_EFFORT = ("reasoning_effort", "reasoning", "verbosity", "prediction", "think")
"""How much a model that has such steps thinks and says, and guesses of its answer that could save time."""
_DONE_ANYWAY = (
    "include_usage",
    "stream_usage",
    "include",
    "truncation",
    "return_token_ids",
    "return_tokens_as_token_ids",
)
IGNORED = frozenset((*_LABELS, *_SERVICE, *_EFFORT, *_DONE_ANYWAY))
"""Fields of OpenAI's and of programs round it that change no token of an answer here."""

ONLY: Mapping[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "echo": (False,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none",),
    "functions": ([],),
    "function_call": ("none",),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "previous_response_id": ("",),
    "conversation": ("",),
    "background": (False,),
    "max_tool_calls": (0,),
    "text": ({}, {"format": {"type": "text"}}),
    # Names of other engines, by which they draw in another way.
    "top_k": (0, -1),
    "min_p": (0,),
    "typical_p": (1,),
    "repetition_penalty": (1,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "mirostat": (0,),
}
"""Fields of OpenAI's that are not supported → the values that ask for nothing, which are let through."""


class RequestFields:
    """The fields of one JSON object. A field that is null counts as absent."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._left = {name: value for name, value in values.items() if value is not None}
        self.ignored: list[str] = []
        """Names of fields that were dropped, once `refuse_the_rest` was called."""

    def take(self, name: str) -> Any:
        """The value, unchecked; None where it is absent."""
        return self._left.pop(name, None)

    def string(self, name: str) -> str:
        value = self.take(name)
        if not isinstance(value, str):
            raise wrong(name, "a string is needed")
        return value

    def boolean(self, name: str) -> bool:
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise wrong(name, "true or false is needed")
        return bool(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise wrong(name, f"a whole number from {low} to {high} is needed")
        return value

    def count(self, name: str, most: int) -> int | None:
        """A whole number from 0 on; None where the field is absent, or false, as in other formats."""
        if self._left.get(name) is False:
            del self._left[name]
        return self.integer(name, 0, most)

    def number(self, name: str, low: float, high: float, default: float) -> float:
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise wrong(name, f"a number from {low:g} to {high:g} is needed")
        if not math.isfinite(value):
            raise wrong(name, "a finite number is needed")
        return float(value)

    def object(self, name: str) -> RequestFields:
        value = self.take(name)
        if value is not None and not isinstance(value, dict):
            raise wrong(name, "an object is needed")
        return RequestFields(value or {})

    def strings(self, name: str, most: int) -> tuple[str, ...]:
        """One string, or a list of at most `most`."""
        value = self.take(name)
        items = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
            raise wrong(name, "a string or a list of strings is needed, none of them empty")
        if len(items) > most:
            raise wrong(name, f"at most {most} strings are taken")
        return tuple(items)

    def ids(self, name: str) -> tuple[int, ...]:
        value = self.take(name)
        if value is not None and not is_ids(value):
            raise wrong(name, "a list of token ids is needed")
        return tuple(value or ())

    def refuse_the_rest(self, within: str = "") -> None:
        """Raises RequestRefused for the first field that was not read."""
        for name, value in self._left.items():
            path = f"{within}{name}"
            if name in ONLY and not within:
                if not any(_same(value, neutral) for neutral in ONLY[name]):
                    raise RequestRefused(f"{path!r} is not supported here", param=path, code="unsupported_parameter")
            elif name in IGNORED and not within:
                self.ignored.append(name)
            else:
                raise RequestRefused(f"{path!r} is not a parameter known here", param=path, code="unknown_parameter")


def parse(body: bytes) -> RequestFields:
    """The object in a request's body. Raises RequestRefused, without quoting the body."""
    try:
        value = json.loads(body)
        # Half of a surrogate pair, which JSON can spell, is no text: neither tokenizers nor answers take it.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise RequestRefused("the body is not valid JSON in Unicode", code="invalid_json") from None
    if not isinstance(value, dict):
        raise RequestRefused("the body must be a JSON object", code="invalid_json")
    return RequestFields(value)


def is_ids(value: object) -> bool:
    """Whether a JSON value is a list of token ids."""
    return isinstance(value, list) and all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in value)


def wrong(name: str, what: str) -> RequestRefused:
    """The error for a field whose value is not as it should be; it does not quote the value."""
    return RequestRefused(f"{name!r} is not right: {what}", param=name, code="invalid_value")


def _same(a: object, b: object) -> bool:
    """Equality in which true is not 1."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def check_model(name: str, names: Sequence[str]) -> None:
    """Raises RequestRefused unless `name` is served."""
    if name not in names:
        raise RequestRefused(
            f"the model {name[:100]!r} is not here; served are: {', '.join(names)}",
            param="model",
            code="model_not_found",
            status=404,
        )
