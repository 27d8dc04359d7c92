"""How a generation goes on and ends: options by transformers' names, over what the checkpoint says, checked."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, get_args

import transformers
from torch import FloatTensor, LongTensor, Tensor
from transformers import PreTrainedTokenizerBase

from secure.generation.defaults import GenerationConfig
from secure.protocols.core.errors import InputError

Reveal = Literal["logits", "token"]
Padding = Literal["secret", "public"]


Processors = Sequence[Callable[[LongTensor, FloatTensor], Tensor]]
"""Such as a LogitsProcessorList of transformers: each from the rows so far [B, T] and scores [B, V] to scores."""
Criteria = Sequence[Callable[..., Any]]
"""Such as a StoppingCriteriaList: each says which of the rows so far, [B, T], have ended: bool [B], or one bool."""


class GenerationOptions(TypedDict, total=False):
    """What `generate` and `stream` take. Names, defaults and the meaning of None are transformers', but for the last
    two. What is not given is as in generation_config or else in the checkpoint's generation_config.json."""

    max_new_tokens: int | None
    max_length: int | None
    min_new_tokens: int | None
    generation_config: transformers.GenerationConfig | None
    num_return_sequences: int | None
    do_sample: bool | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    no_repeat_ngram_size: int | None
    suppress_tokens: Sequence[int] | None
    begin_suppress_tokens: Sequence[int] | None
    eos_token_id: int | Sequence[int] | Tensor | None
    pad_token_id: int | None
    stop_strings: str | Sequence[str] | None
    logits_processor: Processors | None
    stopping_criteria: Criteria | None
    output_scores: bool | None
    return_dict_in_generate: bool | None
    use_cache: bool | None
    reveal: Reveal
    padding: Padding


DEFAULT_NEW_TOKENS = 20
"""How many tokens transformers adds where nobody says it."""
CALLERS = (
    "logits_processor",
    "stopping_criteria",
    "output_scores",
    "return_dict_in_generate",
    "use_cache",
    "reveal",
    "padding",
)
"""What a caller may ask for and a checkpoint does not."""
_NEVER_NONE = ("reveal", "padding")
_SHAPES: Mapping[str, Any] = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": None}
"""What shapes the distribution that tokens are drawn from, and the value that says nothing."""
_log = logging.getLogger(__name__)
_DEFAULTS: Mapping[str, Any] = {
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
    "min_new_tokens": 0,
    "logits_processor": None,
    "output_scores": False,
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
        prompt: Tensor,
        room: Callable[[], int],
    ) -> None:
        """config: the checkpoint's. tokenizer: whose eos and padding count where the checkpoint names none.

        prompt: ids, integer [B, T]. room: how many tokens the model takes, asked for where no length is given.

        Raises InputError naming the first option that is unknown or wrong, or field that is not served.
        """
        unknown = sorted(set(options) - set(GenerationOptions.__annotations__))
        if unknown:
            raise InputError(f"generate does not know {unknown[0]!r}; {_nearest(unknown[0])}")
        self._options = self.given = _given(options)
        self.config = config or GenerationConfig()
        chosen = self._chosen(tokenizer, vocabulary)
        for name, value in chosen.items():
            fits, what = _RULES[name]
            if not fits(value) and (value is not None or name in _NEVER_NONE):
                raise InputError(f"{name} is {value!r}{self._where(name)}; it must be {what}")
        self.max_new_tokens = self._new_tokens(prompt.shape[-1] if prompt.dim() else 0, room)
        self.min_new_tokens: int = chosen.get("min_new_tokens") or 0
        self.sequences: int = chosen.get("num_return_sequences") or 1
        self.do_sample = bool(chosen["do_sample"])
        if self.sequences > 1 and not self.do_sample:
            raise InputError(
                f"num_return_sequences is {self.sequences}{self._where('num_return_sequences')}, and without "
                "do_sample=True all would be the same"
            )
        self._warn_of_shapes()
        self.logits_processor: Processors = chosen.get("logits_processor") or ()
        self.stopping_criteria: Criteria = chosen.get("stopping_criteria") or ()
        self.return_dict = bool(chosen.get("return_dict_in_generate"))
        self.output_scores = bool(chosen.get("output_scores"))
        if self.output_scores and not self.return_dict:
            raise InputError("output_scores needs return_dict_in_generate=True: scores come beside the sequences")
        self.temperature: float = chosen["temperature"] or 1.0
        self.top_k: int = chosen["top_k"] or 0
        self.top_p: float = chosen["top_p"] or 1.0
        self.min_p: float | None = chosen.get("min_p")
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
        config = {name: value for name, value in self.config.values.items() if name in _RULES and name not in CALLERS}
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

    def _new_tokens(self, prompt_tokens: int, room: Callable[[], int]) -> int:
        """How many tokens may be added: the caller's number, the checkpoint's, or transformers' default."""
        for values in (self._options, self.config.values):
            if values.get("max_new_tokens") is not None:
                return int(values["max_new_tokens"])
            length = values.get("max_length")
            # A file has transformers' own default where its writer said nothing.
            if length is None or (values is self.config.values and length == DEFAULT_NEW_TOKENS):
                continue
            if length <= prompt_tokens:
                raise InputError(
                    f"max_length is {length}{self._where('max_length')}, and the prompt has {prompt_tokens} tokens "
                    "already; it counts the prompt's, max_new_tokens does not"
                )
            return int(length) - prompt_tokens
        return max(1, min(DEFAULT_NEW_TOKENS, room() - prompt_tokens))

    def _warn_of_shapes(self) -> None:
        """Log a warning for what shapes a distribution that nothing is drawn from."""
        for name, neutral in _SHAPES.items():
            value = self._options.get(name)
            if not self.do_sample and value not in (None, neutral):
                _log.warning("%s is %r and changes nothing: tokens are drawn with do_sample=True alone", name, value)

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


def _are_functions(value: object) -> bool:
    return isinstance(value, Sequence) and all(callable(function) for function in value)


def _given(options: GenerationOptions) -> Mapping[str, Any]:
    """The caller's options: those by name, over those of a generation_config.

    Raises InputError for what is no generation_config, and for a field of it that is not served.
    """
    named = {name: value for name, value in options.items() if name != "generation_config"}
    config = options.get("generation_config")
    if config is None:
        return named
    if not isinstance(config, transformers.GenerationConfig):
        raise InputError(f"generation_config is a {type(config).__name__}; it must be a transformers.GenerationConfig")
    fields = {name: value for name, value in config.to_diff_dict().items() if value is not None}
    merged = {name: value for name, value in fields.items() if name in _RULES} | named
    GenerationConfig(fields, "generation_config").check_served(do_sample=bool(merged.get("do_sample")))
    return merged


def _nearest(name: str) -> str:
    known = list(GenerationOptions.__annotations__)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"


_LENGTH = (lambda value: type(value) is int and value >= 1, "a whole number of 1 or more")
_FLAG = (lambda value: type(value) is bool, "True or False")
_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "max_new_tokens": _LENGTH,
    "max_length": _LENGTH,
    "min_new_tokens": (_is_count, "a whole number"),
    "num_return_sequences": _LENGTH,
    "min_p": (lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    "logits_processor": (_are_functions, "a list of functions of ids and scores"),
    "stopping_criteria": (_are_functions, "a list of functions of ids"),
    "output_scores": _FLAG,
    "return_dict_in_generate": _FLAG,
    "use_cache": _FLAG,
    "do_sample": _FLAG,
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
