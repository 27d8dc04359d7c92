"""Choosing the next token at the client, and seeing when to stop: transformers' own processors and criteria."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import FloatTensor, LongTensor, Tensor
from transformers import PreTrainedTokenizerBase
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.stopping_criteria import StoppingCriteriaList, StopStringCriteria

from secure.generation.options import GenerationSettings


class GeneratedRows:
    """The tokens of every row so far, and which rows have ended: by an eos, or a stop string."""

    def __init__(self, settings: GenerationSettings, ids: Tensor, tokenizer: PreTrainedTokenizerBase | None) -> None:
        """ids: the prompts, integer [B, T]. tokenizer: None leaves stop strings to whoever reads the text."""
        self.ids = ids.to(torch.int64)
        self._settings = settings
        self._ended = torch.zeros(len(ids), dtype=torch.bool)
        stops = list(settings.stop_strings)
        self._criteria = StoppingCriteriaList(settings.stopping_criteria)
        if stops and tokenizer is not None:
            self._criteria.append(StopStringCriteria(tokenizer, stops))

    @property
    def ended(self) -> bool:
        """Whether every row has."""
        return bool(self._ended.all())

    def append(self, tokens: Tensor) -> Tensor:
        """Tokens that were chosen. Shapes: int64 [B] -> [B]; padding for rows that had ended."""
        tokens = torch.where(self._ended, self._settings.pad_token, tokens)
        self.ids = torch.cat([self.ids, tokens.unsqueeze(1)], 1)
        self._ended |= torch.isin(tokens, torch.tensor(self._settings.eos, dtype=torch.int64))
        if self._criteria:
            # transformers passes no scores either, unless they are asked for.
            self._ended |= self._criteria(cast("LongTensor", self.ids), cast("FloatTensor", None))
        return tokens


class NextToken:
    """Chooses each row's next token from logits."""

    def __init__(self, settings: GenerationSettings, ids: Tensor, mask: Tensor | None) -> None:
        """ids, mask: the prompts and what counts of them, integer [B, T]."""
        self._do_sample = settings.do_sample
        self._processors = _processors(settings, ids, mask)
        self._keep = settings.output_scores
        self.scores: list[Tensor] = []
        """What each token was chosen by, float32 [B, V], where that is asked for."""

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Shapes: the rows so far int64 [B, T], float32 [B, V] -> int64 [B]."""
        scores = self._processors(cast("LongTensor", ids), cast("FloatTensor", logits))
        if self._keep:
            self.scores.append(scores)
        if not self._do_sample:
            return scores.argmax(-1)
        return torch.multinomial(torch.softmax(scores, -1), 1).squeeze(1)


def _processors(settings: GenerationSettings, ids: Tensor, mask: Tensor | None) -> LogitsProcessorList:
    """What changes logits, in transformers' order."""
    found = LogitsProcessorList()
    if settings.repetition_penalty != 1.0:
        padding = None if mask is None or bool(mask.all()) else (mask == 0).sum(1)
        # The first releases that we allow know no padding here, and need not where there is none.
        ignored: dict[str, Any] = {} if padding is None else {"prompt_ignore_length": padding}
        found.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty, **ignored))
    if settings.no_repeat_ngram_size:
        found.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    if settings.min_new_tokens and settings.eos:
        found.append(MinNewTokensLengthLogitsProcessor(ids.shape[1], settings.min_new_tokens, list(settings.eos)))
    if settings.suppress_tokens:
        found.append(SuppressTokensLogitsProcessor(settings.suppress_tokens))
    if settings.begin_suppress_tokens:
        found.append(SuppressTokensAtBeginLogitsProcessor(settings.begin_suppress_tokens, ids.shape[1]))
    # A caller's processor replaces ours of its kind.
    kinds = {type(given) for given in settings.logits_processor}
    found = LogitsProcessorList([ours for ours in found if type(ours) not in kinds])
    found.extend(settings.logits_processor)
    if settings.do_sample:
        if settings.temperature != 1.0:
            found.append(TemperatureLogitsWarper(settings.temperature))
        if settings.top_k:
            found.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1:
            found.append(TopPLogitsWarper(settings.top_p))
        if settings.min_p is not None:
            found.append(MinPLogitsWarper(settings.min_p))
    return found
