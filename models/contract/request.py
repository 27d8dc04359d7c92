"""What is public about one session: what is wanted, the input's shape, and how many steps there may be."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from secure.models.contract.json_text import read_json
from secure.protocols.core.errors import InputError

Output = Literal["hidden", "embedding", "logits", "next_logits", "next_token"]
"""Hidden states, a sentence's embedding, the head's logits; of the last token alone, for generation: its logits, or
only where they are largest."""

GENERATED = ("next_logits", "next_token")
STEPS_DEALT = (16, 64, 256)
"""Steps for which generations are dealt ahead. A session takes the next larger number, and gives the rest up."""
_MOST_BATCH = 4096


@dataclass(frozen=True)
class Request:
    """One session.

    tokens: of the first step's input, padding included; for images, patches.
    masked: whether an attention mask is shared along. Without one every token counts.
    padding: tokens at the start of each row that do not count, where that is public; then no mask is shared.
    steps: most steps; each one after the first takes one more token of every row. More than one generates.
    """

    output: Output
    batch: int
    tokens: int
    masked: bool
    steps: int = 1
    padding: tuple[int, ...] = ()

    def with_steps_dealt(self, room: int) -> Request:
        """The request with so many steps as a deal in stock has, where the model has room for so many tokens.

        One step stays one, as with a single call; and more than any deal has, or than there is room for, stay as well.
        """
        fitting = (steps for steps in STEPS_DEALT if self.steps <= steps <= room - self.tokens + 1)
        return self if self.steps == 1 else replace(self, steps=next(fitting, self.steps))

    def to_json(self) -> str:
        """The request as text, which the handshake compares."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Inverse of `to_json`. Raises InputError for anything else."""
        try:
            value = read_json(text)
            request = cls(**{**value, "padding": tuple(value.get("padding", ()))})
        except (AttributeError, TypeError, ValueError):
            raise InputError("the request is malformed") from None
        kinds = (
            request.output in get_args(Output),
            type(request.batch) is int,
            type(request.tokens) is int,
            type(request.masked) is bool,
            type(request.steps) is int,
            all(type(count) is int for count in request.padding),
        )
        if not all(kinds):
            raise InputError("the request has a field of the wrong type")
        return request

    def check_sizes(self) -> None:
        """Raises InputError for a batch, a length or a number of steps that no model takes."""
        if self.tokens < 1:
            raise InputError(f"{self.tokens} tokens; at least one is needed")
        if not 1 <= self.batch <= _MOST_BATCH:
            raise InputError(f"a batch of {self.batch}; 1 to {_MOST_BATCH} is supported")
        if self.steps < 1:
            raise InputError(f"{self.steps} steps; at least one is needed")
        rows, most = len(self.padding), max(self.padding, default=0)
        if rows and (rows != self.batch or self.masked or min(self.padding) < 0 or most >= self.tokens):
            raise InputError("public padding names, for every row and instead of a mask, fewer tokens than there are")

    def step_tokens(self, step: int) -> int:
        """Tokens of each row that one step takes."""
        return self.tokens if step == 0 else 1
