"""A15, a head fitted on traffic: in split mode the server lacks the head, and can learn one from what follows what.

The server computes h_t and sees the next vector, which is symbol s_{t+1}: N tokens are N examples of a classifier
softmax(h_t·H), fitted by gradient descent. It says P(b | context) for pairs of symbols that traffic never had, so that
the counts of pairs, which A7 matches with public text, are smoothed by the model itself, without its own head.

Needs: traffic with the layers' outputs. Of the base nothing. Source: ours, from A7 and A11.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attack.guess import Guess
from bench.attack.matching import bigrams, decipher, smoothed
from bench.attack.view import View

_STEPS = 150
_RATE = 0.05
_DECAY = 1e-3
_SHARE = 0.5
"""How much the head's counts weigh beside those that were seen."""


def attack(view: View, tokens: int) -> Guess:
    """Symbols that occur in the first `tokens` tokens of traffic, the template's for certain."""
    sessions = view.traffic.first(tokens)
    seen = sorted({symbol for session in sessions for symbol in session})
    place = {symbol: number for number, symbol in enumerate(seen)}
    numbered = [[place[symbol] for symbol in session] for session in sessions]
    counts = bigrams(numbered, len(seen))
    hidden = torch.cat([_hidden(view, session)[:-1] for session in sessions])
    before, after = (torch.cat([torch.tensor(one[part]) for one in numbered]) for part in (slice(-1), slice(1, None)))
    said = torch.zeros_like(counts).index_add_(0, before, _fitted(hidden, after, len(seen)))
    language = smoothed(bigrams(view.public, view.config.vocab_size))
    seeds = {place[symbol]: plain for symbol, plain in zip(sessions[0], view.template, strict=False)}
    plain_of = torch.full((view.traffic.count,), -1)
    plain_of[torch.tensor(seen)] = decipher((1 - _SHARE) * counts + _SHARE * said, language, seeds)
    return Guess(plain_of)


def _hidden(view: View, symbols: list[int]) -> Tensor:
    """What the layers give for a session, each position to length 1. Shapes: [T, d]."""
    hidden = view.encrypted_network.model(**view.inputs(symbols)).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden) * hidden.shape[-1] ** 0.5


def _fitted(hidden: Tensor, after: Tensor, size: int) -> Tensor:
    """The probabilities that a fitted head gives on the very examples. Shapes: [N, d], [N] -> float64 [N, size]."""
    # The suite runs attacks in inference mode, and this one learns.
    with torch.inference_mode(False), torch.enable_grad():
        inputs, targets = hidden.clone(), after.clone()
        head = torch.zeros(hidden.shape[1], size, requires_grad=True)
        optimiser = torch.optim.AdamW([head], lr=_RATE, weight_decay=_DECAY)
        for _ in range(_STEPS):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(inputs @ head, targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return (inputs @ head).detach().double().softmax(-1)
