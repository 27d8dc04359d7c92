"""Requests in OpenAI's format, checked and frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from secure.http.openai_fields import RequestFields, check_model, is_ids, wrong
from secure.parties.encrypted.tokens import MOST_LOGPROBS, SamplingParameters

MOST_TOKENS = 1 << 20
MOST_STOPS = 16
MOST_PROMPTS = 64
"""Prompts, and answers to all of them together."""
DEFAULT_TOKENS = 16
"""OpenAI's default of max_tokens for completions; a chat has all the room that is left."""


@dataclass(frozen=True)
class Wishes:
    """What every request for text has."""

    model: str
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    stop_ids: tuple[int, ...]
    stream: bool
    include_usage: bool
    answers: int = 1
    """How many to each prompt."""
    logprobs: int | None = None
    """How many of the likeliest tokens come with each one and its logarithm; None: nothing."""

    def sampling(self, room: int, stop_ids: tuple[int, ...]) -> SamplingParameters:
        """room: most new tokens, where the request names no number."""
        most = self.max_tokens or room
        return SamplingParameters(most, self.temperature, self.top_p, self.seed, stop_ids, self.logprobs)


@dataclass(frozen=True)
class Completion:
    """/v1/completions. prompts: texts, or lists of ids."""

    wishes: Wishes
    prompts: list[str] | list[list[int]]


@dataclass(frozen=True)
class Chat:
    """/v1/chat/completions. messages: role and content, content as one string."""

    wishes: Wishes
    messages: list[dict[str, str]]


def completion(fields: RequestFields, names: Sequence[str], *, text: bool) -> Completion:
    """text: whether the prompt may be text. Raises RequestRefused."""
    wishes = wishes_of(fields, names, text=text, default_tokens=DEFAULT_TOKENS)
    wishes = replace(wishes, logprobs=fields.count("logprobs", MOST_LOGPROBS))
    prompts = prompts_of(fields.take("prompt"), text)
    if len(prompts) * wishes.answers > MOST_PROMPTS:
        raise wrong("n", f"at most {MOST_PROMPTS} answers are given to one request")
    fields.refuse_the_rest()
    return Completion(wishes, prompts)


def chat(fields: RequestFields, names: Sequence[str]) -> Chat:
    """Raises RequestRefused."""
    newer = fields.integer("max_completion_tokens", 1, MOST_TOKENS)
    wishes = wishes_of(fields, names, text=True, default_tokens=newer)
    if newer not in (None, wishes.max_tokens):
        raise wrong("max_completion_tokens", "it differs from 'max_tokens'; send one of them")
    messages = fields.take("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "a list of one message or more is needed")
    checked = [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]
    told, likeliest = fields.boolean("logprobs"), fields.integer("top_logprobs", 0, MOST_LOGPROBS)
    if likeliest and not told:
        raise wrong("top_logprobs", "it goes with logprobs: true only")
    wishes = replace(wishes, logprobs=(likeliest or 0) if told else None)
    fields.refuse_the_rest()
    return Chat(wishes, checked)


def wishes_of(fields: RequestFields, names: Sequence[str], *, text: bool, default_tokens: int | None) -> Wishes:
    """What requests for text have in common. Raises RequestRefused."""
    model = fields.string("model")
    check_model(model, names)
    max_tokens = fields.integer("max_tokens", 1, MOST_TOKENS) or default_tokens
    stream = fields.boolean("stream")
    options = fields.object("stream_options")
    include_usage = options.boolean("include_usage")
    # It asks for padding of chunks, by which OpenAI hides the lengths of tokens from observers of the wire.
    if options.boolean("include_obfuscation"):
        raise wrong("stream_options.include_obfuscation", "it is not supported here")
    options.refuse_the_rest("stream_options.")
    if include_usage and not stream:
        raise wrong("stream_options", "it goes with stream only")
    top_p = fields.number("top_p", 0, 1, 1.0)
    if top_p == 0:
        raise wrong("top_p", "a number above 0 is needed; for the likeliest token set temperature to 0")
    return Wishes(
        model=model,
        max_tokens=max_tokens,
        temperature=fields.number("temperature", 0, 2, 1.0),
        top_p=top_p,
        seed=fields.integer("seed", 0, (1 << 63) - 1),
        # Only who can decode tokens can look for strings in them.
        stop=fields.strings("stop", MOST_STOPS) if text else (),
        stop_ids=fields.ids("stop_token_ids"),
        stream=stream,
        include_usage=include_usage,
        answers=fields.integer("n", 1, MOST_PROMPTS) or 1,
    )


def prompts_of(value: Any, text: bool, name: str = "prompt") -> list[str] | list[list[int]]:
    """Texts, or lists of ids, as they are given in the field `name`. Raises RequestRefused."""
    if is_ids(value) and value:
        return [value]
    if text and isinstance(value, str):
        return [value]
    if isinstance(value, list) and 0 < len(value) <= MOST_PROMPTS:
        if all(is_ids(item) and item for item in value):
            return value
        if text and all(isinstance(item, str) for item in value):
            return value
    kinds = (
        "a text, a list of token ids, or a list of those" if text else "a list of token ids, or a list of such lists"
    )
    raise wrong(name, f"{kinds} is needed, none of them empty, at most {MOST_PROMPTS}")


def _message(value: object, path: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise wrong(path, "an object is needed")
    fields = RequestFields(value)
    role, content = fields.take("role"), content_of(fields.take("content"), f"{path}.content")
    if not isinstance(role, str):
        raise wrong(f"{path}.role", "a string is needed")
    message = {"role": role, "content": content}
    name = fields.take("name")
    if name is not None:
        if not isinstance(name, str):
            raise wrong(f"{path}.name", "a string is needed")
        # Whether it is used is up to the chat template.
        message["name"] = name
    # What an answer of a service has beside its text, sent back with it.
    for empty in ("annotations", "tool_calls"):
        if fields.take(empty):
            raise wrong(f"{path}.{empty}", "it is not supported here")
    fields.refuse_the_rest(f"{path}.")
    return message


def content_of(value: Any, path: str, kinds: tuple[str, ...] = ("text",)) -> str:
    """A string, or a list of parts that are all text: of these kinds. Raises RequestRefused."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        for i, part in enumerate(value):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in kinds or not isinstance(part.get("text"), str) or len(part) != 2:
                raise wrong(f"{path}[{i}]", "a part with type and text is needed; no other kind is supported")
        return "".join(part["text"] for part in value)
    raise wrong(path, "a string or a list of text parts is needed")
