"""A6, frequency analysis of ids: a fixed τ is a substitution cipher, the oldest of all to be broken.

Public text gives the probability of each pair of neighbours, traffic gives the counts of pairs of symbols; the solver
(matching.decipher) looks for the one-to-one map of greatest likelihood. The number of tokens under one key decides.

Needs: traffic alone. In split mode equal vectors are equal symbols. Source: al-Kindi, 9th century; by bigrams and
annealed assignment, Gold and Rangarajan 1996.
"""

from __future__ import annotations

import torch

from bench.attack.guess import Guess
from bench.attack.matching import bigrams, decipher, smoothed
from bench.attack.view import View


def attack(view: View, tokens: int) -> Guess:
    """Symbols that occur in the first `tokens` tokens of traffic."""
    return solve(view, tokens, {})


def solve(view: View, tokens: int, seeds: dict[int, int]) -> Guess:
    """As `attack`, with symbols that are known already."""
    sessions = view.traffic.first(tokens)
    seen = sorted({symbol for session in sessions for symbol in session})
    place = {symbol: number for number, symbol in enumerate(seen)}
    counts = bigrams([[place[symbol] for symbol in session] for session in sessions], len(seen))
    language = smoothed(bigrams(view.public, view.config.vocab_size))
    within = {place[symbol]: plain for symbol, plain in seeds.items() if symbol in place}
    plain_of = torch.full((view.traffic.count,), -1)
    plain_of[torch.tensor(seen)] = decipher(counts, language, within)
    return Guess(plain_of)
