"""Choosing the next token at the client, and when to stop: transformers' own processors and criteria."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Required, TypedDict, cast, get_args

import torch
from torch import FloatTensor, LongTensor, Tensor
from transformers import PreTrainedTokenizerBase
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.stopping_criteria import StopStringCriteria

from protocols.core.errors import InputError

Reveal = Literal["logits", "token"]
Padding = Literal["secret", "public"]


class GenerationOptions(TypedDict, total=False):
    """How a generation goes on and ends: what `generate` and `stream` take; names and defaults as in transformers."""

    max_new_tokens: Required[int]
    do_sample: bool
    temperature: float
    top_k: int | None
    top_p: float
    eos_token_id: int | Sequence[int] | None
    pad_token_id: int | None
    stop_strings: str | Sequence[str] | None
    reveal: Reveal
    padding: Padding


class Sampling:
    """Those options, checked, with the tokenizer's where none are given."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase | None, options: GenerationOptions, endings: Sequence[int] = ()
    ) -> None:
        """endings: tokens that end a row where neither the options nor a tokenizer name any.

        Raises InputError naming the first option that is missing, unknown or wrong.
        """
        unknown = sorted(set(options) - set(GenerationOptions.__annotations__))
        if unknown:
            raise InputError(
                f"generate does not know {unknown[0]!r}; it takes {', '.join(GenerationOptions.__annotations__)}"
            )
        self.max_new_tokens = options.get("max_new_tokens")
        self.do_sample = options.get("do_sample", False)
        self.temperature = options.get("temperature", 1.0)
        self.top_k = options.get("top_k", 50)
        self.top_p = options.get("top_p", 1.0)
        self.reveal: Reveal = options.get("reveal", "logits")
        self.public_padding = options.get("padding", "secret") == "public"
        stops = options.get("stop_strings") or ()
        self.stop_strings = [stops] if isinstance(stops, str) else list(stops)
        eos, padding = options.get("eos_token_id"), options.get("pad_token_id")
        if tokenizer is not None:
            eos = tokenizer.eos_token_id if eos is None else eos
            padding = tokenizer.pad_token_id if padding is None else padding
        elif eos is None:
            eos = endings
        self.eos = _token_ids(eos)
        self.pad_token: int = (*self.eos, 0)[0] if padding is None else padding
        if options.get("padding", "secret") not in get_args(Padding):
            raise InputError(f"padding is 'secret' or 'public', not {options['padding']!r}")
        self._check()
        if self.stop_strings and tokenizer is None:
            raise InputError("stop_strings need the tokenizer, which the model's folder lacks")

    def _check(self) -> None:
        if type(self.max_new_tokens) is not int or self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens!r}; it must be a whole number of 1 or more")
        if self.reveal not in ("logits", "token"):
            raise InputError(f"reveal is 'logits' or 'token', not {self.reveal!r}")
        if self.do_sample and self.reveal == "token":
            raise InputError("sampling needs logits; with reveal='token' only the likeliest token leaves the parties")
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}; it must be positive (do_sample=False takes the best)")
        if self.top_k is not None and (type(self.top_k) is not int or self.top_k < 0):
            raise InputError(f"top_k is {self.top_k!r}; it must be a whole number, 0 or None for no limit")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; it must be above 0 and at most 1")


class Choice:
    """Picks every row's next token and remembers which rows have ended."""

    def __init__(self, sampling: Sampling, ids: Tensor, tokenizer: PreTrainedTokenizerBase | None) -> None:
        """ids: the prompts, int64 [B, T]."""
        self.ids = ids
        self._sampling = sampling
        self._ended = torch.zeros(len(ids), dtype=torch.bool)
        self._warpers = LogitsProcessorList()
        if sampling.do_sample:
            if sampling.temperature != 1.0:
                self._warpers.append(TemperatureLogitsWarper(sampling.temperature))
            if sampling.top_k:
                self._warpers.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                self._warpers.append(TopPLogitsWarper(sampling.top_p))
        stops = sampling.stop_strings
        self._stops = StopStringCriteria(tokenizer, stops) if stops and tokenizer is not None else None

    @property
    def ended(self) -> bool:
        """Whether every row has."""
        return bool(self._ended.all())

    def of_logits(self, logits: Tensor) -> Tensor:
        """The next token of each row. Shapes: float32 [B, V] -> int64 [B]."""
        if not self._sampling.do_sample:
            return self.of_tokens(logits.argmax(-1))
        probabilities = torch.softmax(self._warpers(cast("LongTensor", self.ids), cast("FloatTensor", logits)), -1)
        return self.of_tokens(torch.multinomial(probabilities, 1).squeeze(1))

    def of_tokens(self, tokens: Tensor) -> Tensor:
        """The same where the parties have chosen. Shapes: int64 [B] -> [B]; padding for rows that had ended."""
        tokens = torch.where(self._ended, self._sampling.pad_token, tokens)
        self.ids = torch.cat([self.ids, tokens.unsqueeze(1)], 1)
        self._ended |= torch.isin(tokens, torch.tensor(self._sampling.eos, dtype=torch.int64))
        if self._stops is not None:
            self._ended |= self._stops(cast("LongTensor", self.ids), cast("FloatTensor", torch.empty(0)))
        return tokens


def _token_ids(value: int | Sequence[int] | None) -> tuple[int, ...]:
    values = () if value is None else (value,) if isinstance(value, int) else tuple(value)
    if any(type(number) is not int for number in values):
        raise InputError(f"eos_token_id is {value!r}; it must be a token id or several")
    return values
