"""A7, known plaintext: every session begins with the chat template, which is public.

The first tokens of the first session give the symbols of the template's own tokens outright. They are then the seeds
of the frequency analysis (A6), whose solver no longer starts from nothing. The score leaves those tokens out.

Needs: traffic alone, and sessions from their beginning. Source: seeded graph matching, Fishkind et al. 2019.
"""

from __future__ import annotations

from bench.attack.a06_frequency import solve
from bench.attack.guess import Guess
from bench.attack.view import View


def attack(view: View, tokens: int) -> Guess:
    """Symbols that occur in the first `tokens` tokens of traffic, the template's for certain."""
    opening = view.traffic.first(tokens)[0]
    return solve(view, tokens, dict(zip(opening, view.template, strict=False)))
