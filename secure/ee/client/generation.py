"""One generation from an encrypted checkpoint: plain prompts in, plain tokens out, column by column."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from secure.ee.client.inputs import as_rows
from secure.ee.client.reader import Reader
from secure.ee.client.runner import Runner
from secure.ee.client.split import SplitTables
from secure.generation.next_token import GeneratedRows
from secure.generation.options import GenerationOptions, GenerationSettings
from secure.generation.prompts import prompt_ids
from secure.parties.encrypted.engine import Sampling
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
}
"""Options that need logits or shares, which a client of an encrypted checkpoint does not have, and what leaves each as
it is."""


class EncryptedGeneration:
    """The rows of one call, each a request of its own."""

    def __init__(
        self,
        reader: Reader,
        runner: Runner,
        tables: SplitTables | None,
        prompt: Tensor | str,
        mask: Tensor | None,
        options: GenerationOptions,
    ) -> None:
        """tables: of split mode. Raises InputError for prompts and options that are wrong, before any id is sent."""
        tokenizer = reader.tokenizer if isinstance(prompt, str) else reader.found_tokenizer
        _check_served(options)
        self.settings = GenerationSettings(
            tokenizer, options, reader.generation_config, vocabulary=reader.vocabulary_size
        )
        self.ids = prompt_ids(prompt, tokenizer)
        self._rows = as_rows(self.ids, mask)
        self._encrypted = reader.encrypted(self._rows)
        self._reader, self._runner, self._tables = reader, runner, tables
        # In a text stop strings are looked for where it is decoded.
        self._tokenizer = None if isinstance(prompt, str) else tokenizer
        ends = {token for token in self.settings.eos if 0 <= token < reader.vocabulary_size}
        own = set() if tables is not None else set(reader.stop_ids)
        if not own <= ends:
            raise InputError(
                f"eos_token_id must hold the checkpoint's own, {', '.join(map(str, sorted(own)))}: its server ends a "
                "row there, too"
            )
        self._stop_ids = tuple(reader.encrypted([sorted(ends - own)])[0])
        self._sampling()
        room, longest = runner.context_tokens(), max(map(len, self._rows))
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
            for number in range(len(self._rows)):
                row = stack.enter_context(closing(self._row(number, at_once=at_once)))
                rows.append(iter(list(row)) if at_once else row)
                if at_once:
                    bar.session_done()
            for tokens in zip_longest(*rows, fillvalue=self.settings.pad_token):
                if not at_once:
                    bar.session_done()
                yield torch.tensor(tokens)[:, None]

    def _row(self, number: int, *, at_once: bool) -> Generator[int, None, None]:
        """The plain tokens of one row, one by one."""
        row = GeneratedRows(self.settings, torch.tensor([self._rows[number]]), self._tokenizer)
        encrypted, sampling = self._encrypted[number], self._sampling()
        if self._tables is None:
            tokens = self._runner.generate(encrypted, sampling, at_once=at_once)
        else:
            tokens = self._tables.generate(self._runner, encrypted, sampling)
        with closing(tokens):  # type: ignore[type-var]
            for token in tokens:
                plain = self._reader.plain_id(token)
                row.append(torch.tensor([plain]))
                yield plain
                if row.ended:
                    return

    def _sampling(self) -> Sampling:
        settings = self.settings
        if not settings.do_sample:
            return Sampling(settings.max_new_tokens, stop_ids=self._stop_ids)
        seed = int(torch.randint(_SEEDS, ()))
        return Sampling(settings.max_new_tokens, settings.temperature, settings.top_p, seed, self._stop_ids)


def _check_served(options: GenerationOptions) -> None:
    for name, neutral in NOT_SERVED.items():
        value = options.get(name)
        if value and value != neutral:
            raise InputError(
                f"{name} is {value!r}, which no client of an encrypted checkpoint can have done; leave it out, or pass "
                f"{name}={neutral!r}"
            )
