"""The next token from logits, by the parameters of one request, and how likely it was."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LogitsProcessor, TemperatureLogitsWarper, TopPLogitsWarper

from secure.parties.encrypted.tokens import SamplingParameters, TokenLogprobs


class TokenDraw:
    """Draws one token after the other, by a generator of its own: a seed repeats a draw whatever else runs."""

    def __init__(self, sampling: SamplingParameters, device: torch.device | str = "cpu") -> None:
        self._greedy = sampling.temperature == 0
        self._generator = torch.Generator(device)
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)
        # The order is that of transformers.
        self._warpers: list[LogitsProcessor] = []
        if not self._greedy and sampling.temperature != 1:
            self._warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if not self._greedy and sampling.top_p < 1:
            self._warpers.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, logits: Tensor) -> Tensor:
        """Shapes: [B, V] -> int64 [B]."""
        if self._greedy:
            return logits.argmax(-1)
        for warper in self._warpers:
            logits = warper(None, logits)
        return torch.multinomial(logits.float().softmax(-1), 1, generator=self._generator).squeeze(1)


def logprobs_of(logits: Tensor, token: int, count: int) -> TokenLogprobs:
    """How likely a token was by logits of the model, and the `count` likeliest ones. Shapes: [V]."""
    logs = logits.float().log_softmax(-1)
    values, ids = logs.topk(min(count, len(logs)))
    return TokenLogprobs(float(logs[token]), list(zip(ids.tolist(), values.tolist(), strict=True)))
