"""Attacks on a classifier's answers, which train a detector and measure a verifier. They are `secure.attacks`.

An attack is a callable with a name. It gets a `Target`, which holds honest answers and all that the verifier knows, and
returns the answers that it would give instead. How much of the target it looks at is what its attacker knows.
"""

from secure.verifier.attacks.classes import (
    AnotherClass,
    RaisedLogit,
    RotatedValues,
    RunnerUp,
    SubtleShift,
    TopTwoSwapped,
)
from secure.verifier.attacks.generator import Generator
from secure.verifier.attacks.knowing import Knowing
from secure.verifier.attacks.substitution import Substitution, pruned, quantised
from secure.verifier.attacks.target import Attack, Target

CLASS_CHANGES: tuple[Attack, ...] = (AnotherClass(), RotatedValues(), RaisedLogit())
"""Another class than the service's, chosen without a look at the verifier."""
ALL: tuple[Attack, ...] = (
    *CLASS_CHANGES,
    TopTwoSwapped(),
    RunnerUp(),
    SubtleShift(0.1),
    SubtleShift(0.4),
    Generator(),
    Knowing(),
)
"""All that need no other model. Add `Substitution`s by models of your own."""

__all__ = [
    "ALL",
    "CLASS_CHANGES",
    "AnotherClass",
    "Attack",
    "Generator",
    "Knowing",
    "RaisedLogit",
    "RotatedValues",
    "RunnerUp",
    "Substitution",
    "SubtleShift",
    "Target",
    "TopTwoSwapped",
    "pruned",
    "quantised",
]
