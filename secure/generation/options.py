"""How a generation goes on and ends: options by transformers' names, over what the checkpoint says, checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Required, TypedDict, get_args

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from secure.generation.defaults import GenerationConfig
from secure.protocols.core.errors import InputError

Reveal = Literal["logits", "token"]
Padding = Literal["secret", "public"]


class GenerationOptions(TypedDict, total=False):
    """What `generate` and `stream` take. Names, defaults and the meaning of None are transformers', but for the last
    two. What is not given is as in the checkpoint's generation_config.json, but for max_new_tokens."""

    max_new_tokens: Required[int]
    do_sample: bool | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    repetition_penalty: float | None
    no_repeat_ngram_size: int | None
    suppress_tokens: Sequence[int] | None
    begin_suppress_tokens: Sequence[int] | None
    eos_token_id: int | Sequence[int] | Tensor | None
    pad_token_id: int | None
    stop_strings: str | Sequence[str] | None
    reveal: Reveal
    padding: Padding


_OURS = ("max_new_tokens", "reveal", "padding")  # never from a checkpoint, never None
_SHAPES = ("temperature", "top_k", "top_p")  # of the distribution that tokens are drawn from
_DEFAULTS: Mapping[str, Any] = {
    "max_new_tokens": None,
    "do_sample": False,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "reveal": "logits",
    "padding": "secret",
}
_LOGITS: Mapping[str, Any] = {
    "do_sample": False,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
"""What needs logits, unless it is None or as here."""


class GenerationSettings:
    """The options of one generation, checked, with what the checkpoint and the tokenizer add to them."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        options: GenerationOptions,
        config: GenerationConfig | None = None,
        *,
        vocabulary: int,
    ) -> None:
        """config: the checkpoint's. tokenizer: whose eos and padding count where the checkpoint names none.

        Raises InputError naming the first option that is missing, unknown or wrong, or field that is not served.
        """
        self._options: Mapping[str, Any] = dict(options)
        self.config = config or GenerationConfig()
        unknown = sorted(set(options) - set(GenerationOptions.__annotations__))
        if unknown:
            raise InputError(
                f"generate does not know {unknown[0]!r}; it takes {', '.join(GenerationOptions.__annotations__)}"
            )
        chosen = self._chosen(tokenizer, vocabulary)
        for name, value in chosen.items():
            fits, what = _RULES[name]
            if not fits(value) and (value is not None or name in _OURS):
                raise InputError(f"{name} is {value!r}{self._where(name)}; it must be {what}")
        self.max_new_tokens: int = chosen["max_new_tokens"]
        self.do_sample = bool(chosen["do_sample"])
        self.temperature: float = chosen["temperature"] or 1.0
        self.top_k: int = chosen["top_k"] or 0
        self.top_p: float = chosen["top_p"] or 1.0
        self.repetition_penalty = float(chosen.get("repetition_penalty") or 1.0)
        self.no_repeat_ngram_size: int = chosen.get("no_repeat_ngram_size") or 0
        self.suppress_tokens: Sequence[int] = chosen.get("suppress_tokens") or ()
        self.begin_suppress_tokens: Sequence[int] = chosen.get("begin_suppress_tokens") or ()
        self.reveal: Reveal = chosen["reveal"]
        self.public_padding = chosen["padding"] == "public"
        self.stop_strings = _several(chosen.get("stop_strings"))
        self.eos = _several(chosen.get("eos_token_id"))
        # Nothing ends a row but a token of the model, which then is one that can follow, too.
        known = [token for token in self.eos if 0 <= token < vocabulary]
        pad = chosen.get("pad_token_id")
        self.pad_token: int = (*known, 0)[0] if pad is None else pad
        if not 0 <= self.pad_token < vocabulary:
            raise InputError(f"pad_token_id is {pad}; the model knows tokens 0 to {vocabulary - 1}")
        if self.stop_strings and tokenizer is None:
            raise InputError("stop_strings need the tokenizer, which the model's folder lacks")
        self._check_revealed(chosen)

    def _chosen(self, tokenizer: PreTrainedTokenizerBase | None, vocabulary: int) -> dict[str, Any]:
        """Every option that has a value, None included: the caller's, the checkpoint's, the tokenizer's, ours."""
        config = {name: value for name, value in self.config.values.items() if name in _RULES and name not in _OURS}
        if not self._options.get("do_sample", config.get("do_sample")):
            config = {name: value for name, value in config.items() if name not in _SHAPES}  # they do nothing
        ends: dict[str, Any] = {}
        if tokenizer is not None:
            named = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
            ends = {name: value for name, value in named.items() if value is not None}
        for source in (ends, config):
            # Padding that is no token of the model: -1 in some checkpoints, and one that only the tokenizer was given.
            if not 0 <= source.get("pad_token_id", 0) < vocabulary:
                del source["pad_token_id"]
        chosen = {**_DEFAULTS, **ends, **config, **self._options}
        return {name: value.tolist() if isinstance(value, Tensor) else value for name, value in chosen.items()}

    def _check_revealed(self, chosen: Mapping[str, Any]) -> None:
        for name, neutral in _LOGITS.items():
            value = chosen.get(name)
            if self.reveal == "token" and value and value != neutral:
                raise InputError(
                    f"{name} is {value!r}{self._where(name)} and needs logits; with reveal='token' only the likeliest "
                    f"token leaves the parties: pass {name}={neutral!r}, or reveal='logits'"
                )

    def _where(self, name: str) -> str:
        given = name in self._options or name not in self.config.values
        return "" if given else f" in the checkpoint's {self.config.file}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_positive(value: Any) -> bool:
    return _is_number(value) and 0 < value < math.inf


def _are_tokens(value: object) -> bool:
    return isinstance(value, Sequence) and all(type(token) is int for token in value)


def _are_texts(value: object) -> bool:
    texts = [value] if isinstance(value, str) else value
    return isinstance(texts, Sequence) and all(isinstance(text, str) and text for text in texts)


def _several(value: Any) -> tuple[Any, ...]:
    return () if value is None else (value,) if isinstance(value, int | str) else tuple(value)


_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "max_new_tokens": (lambda value: type(value) is int and value >= 1, "a whole number of 1 or more"),
    "do_sample": (lambda value: type(value) is bool, "True or False"),
    "temperature": (_is_positive, "a positive number (do_sample=False takes the likeliest token)"),
    "top_k": (_is_count, "a whole number, 0 or None for no limit"),
    "top_p": (lambda value: _is_number(value) and 0 < value <= 1, "a number above 0 and at most 1"),
    "repetition_penalty": (_is_positive, "a positive number"),
    "no_repeat_ngram_size": (_is_count, "a whole number, 0 or None for no limit"),
    "suppress_tokens": (_are_tokens, "a list of token ids"),
    "begin_suppress_tokens": (_are_tokens, "a list of token ids"),
    "eos_token_id": (lambda value: type(value) is int or _are_tokens(value), "a token id or several"),
    "pad_token_id": (lambda value: type(value) is int, "a token id"),
    "stop_strings": (_are_texts, "a text or several, none of them empty"),
    "reveal": (lambda value: value in get_args(Reveal), "'logits' or 'token'"),
    "padding": (lambda value: value in get_args(Padding), "'secret' or 'public'"),
}
"""Whether an option's value, None apart, is right, and what it must be."""
