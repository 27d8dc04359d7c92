"""One generation from an encrypted checkpoint: plain prompts in, plain tokens out, column by column."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from secure.arrays import Array, as_tensor_or_none
from secure.ee.client.cipher import Cipher
from secure.ee.client.inputs import as_rows
from secure.generation.next_token import GeneratedRows
from secure.generation.options import GenerationOptions, GenerationSettings
from secure.generation.prompts import Prompt, expanded, prompt_ids
from secure.parties.encrypted.tokens import SamplingParameters, TokenGenerator
from secure.progress import layer_bar
from secure.protocols.core.errors import InputError

_SEEDS = 1 << 62
NOT_SERVED: Mapping[str, Any] = {
    "top_k": 0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "reveal": "logits",
    "padding": "secret",
    "min_p": None,
    "min_new_tokens": 0,
    "logits_processor": None,
    "output_scores": False,
}
"""Options that need logits or shares, which a client of an encrypted checkpoint does not have, and what leaves each as
it is."""


class EncryptedGeneration:
    """The rows of one call, each a request of its own."""

    def __init__(
        self,
        cipher: Cipher,
        tokens: TokenGenerator,
        own_ends: set[int],
        prompt: Prompt,
        mask: Array | None,
        options: GenerationOptions,
    ) -> None:
        """One call, for a prompt as its caller gave it.

        tokens: of plain ids. own_ends: plain ids at which whatever makes the tokens ends a row by itself.

        Raises InputError for prompts and options that are wrong, before any id is sent.
        """
        tokenizer = cipher.tokenizer if isinstance(prompt, str) else cipher.found_tokenizer
        size, ids = cipher.vocabulary_size, prompt_ids(prompt, tokenizer)
        self.settings = GenerationSettings(
            tokenizer,
            options,
            cipher.generation_config,
            vocabulary=size,
            prompt=ids,
            room=lambda: tokens.room().context_tokens,
        )
        _check_served(self.settings.given)
        self.ids, rows_mask = expanded(prompt, ids, as_tensor_or_none("attention_mask", mask), self.settings)
        self._rows = as_rows(self.ids, rows_mask)
        self._tokens = tokens
        # Stop strings of a text are looked for where it is decoded.
        self._tokenizer = None if isinstance(prompt, str) else tokenizer
        ends = {token for token in self.settings.eos if 0 <= token < size}
        if not own_ends <= ends:
            raise InputError(
                f"eos_token_id must hold the checkpoint's own, {', '.join(map(str, sorted(own_ends)))}: its server "
                "ends a row there, too"
            )
        self._stop_ids = tuple(sorted(ends - own_ends))
        self._sampling()  # what is out of range is said now
        cipher.encrypted(self._rows)
        room, longest = tokens.room().context_tokens, max(map(len, self._rows))
        if longest + self.settings.max_new_tokens > room:
            raise InputError(
                f"the prompt's {longest} tokens and max_new_tokens {self.settings.max_new_tokens} do not fit; this "
                f"model has room for {room} together"
            )

    def columns(self, progress: bool | None, *, at_once: bool) -> Iterator[Tensor]:
        """The next token of every row, int64 [B, 1], as long as one has not ended.

        at_once: row by row, the tokens of each together, 4 bytes each, which shows no pace. Otherwise all rows side by
        side, as they are made.
        """
        count = len(self._rows) if at_once else self.settings.max_new_tokens
        with layer_bar(count, 1, progress) as bar, ExitStack() as stack:
            rows: list[Iterator[int]] = []
            for ids in self._rows:
                row = stack.enter_context(closing(self._row(ids, at_once=at_once)))
                rows.append(iter(list(row)) if at_once else row)
                if at_once:
                    bar.session_done()
            for tokens in zip_longest(*rows, fillvalue=self.settings.pad_token):
                if not at_once:
                    bar.session_done()
                yield torch.tensor(tokens)[:, None]

    def _row(self, ids: list[int], *, at_once: bool) -> Generator[int, None, None]:
        """The tokens that follow one prompt, one by one."""
        row = GeneratedRows(self.settings, torch.tensor([ids]), self._tokenizer)
        with self._tokens.generate(ids, self._sampling(), at_once=at_once) as pieces:
            for piece in pieces:
                for token in piece.ids:
                    row.append(torch.tensor([token]))
                    yield token
                    if row.ended:
                        return

    def _sampling(self) -> SamplingParameters:
        settings = self.settings
        if not settings.do_sample:
            return SamplingParameters(settings.max_new_tokens, stop_ids=self._stop_ids)
        seed = int(torch.randint(_SEEDS, ()))
        return SamplingParameters(settings.max_new_tokens, settings.temperature, settings.top_p, seed, self._stop_ids)


def _check_served(options: Mapping[str, Any]) -> None:
    for name, neutral in NOT_SERVED.items():
        value = options.get(name)
        if value and value != neutral:
            raise InputError(
                f"{name} is {value!r}, which no client of an encrypted checkpoint can have done; leave it out, or pass "
                f"{name}={neutral!r}"
            )
