"""Choosing the next token at the client, and seeing when to stop: transformers' own processors and criteria."""

from __future__ import annotations

from typing import cast

import torch
from torch import FloatTensor, LongTensor, Tensor
from transformers import PreTrainedTokenizerBase
from transformers.generation.logits_process import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.stopping_criteria import StopStringCriteria

from secure.generation.sampling import Sampling


class Choice:
    """Picks every row's next token and remembers which rows have ended."""

    def __init__(
        self, sampling: Sampling, ids: Tensor, mask: Tensor | None, tokenizer: PreTrainedTokenizerBase | None
    ) -> None:
        """ids, mask: the prompts and what counts of them, integer [B, T]."""
        self.ids = ids.to(torch.int64)
        self._sampling = sampling
        self._ended = torch.zeros(len(ids), dtype=torch.bool)
        self._processors = _processors(sampling, ids, mask)
        stops = list(sampling.stop_strings)
        self._stops = StopStringCriteria(tokenizer, stops) if stops and tokenizer is not None else None

    @property
    def ended(self) -> bool:
        """Whether every row has."""
        return bool(self._ended.all())

    def of_logits(self, logits: Tensor) -> Tensor:
        """The next token of each row. Shapes: float32 [B, V] -> int64 [B]."""
        scores = self._processors(cast("LongTensor", self.ids), cast("FloatTensor", logits))
        if not self._sampling.do_sample:
            return self.of_tokens(scores.argmax(-1))
        return self.of_tokens(torch.multinomial(torch.softmax(scores, -1), 1).squeeze(1))

    def of_tokens(self, tokens: Tensor) -> Tensor:
        """The same where the parties have chosen. Shapes: int64 [B] -> [B]; padding for rows that had ended."""
        tokens = torch.where(self._ended, self._sampling.pad_token, tokens)
        self.ids = torch.cat([self.ids, tokens.unsqueeze(1)], 1)
        self._ended |= torch.isin(tokens, torch.tensor(self._sampling.eos, dtype=torch.int64))
        if self._stops is not None:
            self._ended |= self._stops(cast("LongTensor", self.ids), cast("FloatTensor", torch.empty(0)))
        return tokens


def _processors(sampling: Sampling, ids: Tensor, mask: Tensor | None) -> LogitsProcessorList:
    """What changes logits, in transformers' order."""
    found = LogitsProcessorList()
    if sampling.repetition_penalty != 1.0:
        padding = None if mask is None or bool(mask.all()) else (mask == 0).sum(1)
        found.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty, prompt_ignore_length=padding))
    if sampling.no_repeat_ngram_size:
        found.append(NoRepeatNGramLogitsProcessor(sampling.no_repeat_ngram_size))
    if sampling.suppress_tokens:
        found.append(SuppressTokensLogitsProcessor(sampling.suppress_tokens))
    if sampling.begin_suppress_tokens:
        found.append(SuppressTokensAtBeginLogitsProcessor(sampling.begin_suppress_tokens, ids.shape[1]))
    if sampling.do_sample:
        if sampling.temperature != 1.0:
            found.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k:
            found.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            found.append(TopPLogitsWarper(sampling.top_p))
    return found
