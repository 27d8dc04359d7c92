"""What a round is worth: how many bytes a dealer may send more to save one.

Every choice between gates that compute the same follows from public shapes and from this, so all roles make it alike.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """How the network between the parties is. Every role must have the same: the handshake compares it.

    round_bytes: what the dealer may send more, at a gate, for each round that this saves.
    """

    name: str
    round_bytes: int

    def worth(self, more_bytes: int, rounds: int = 1) -> bool:
        """Whether so many rounds are worth so many bytes more from the dealer."""
        return more_bytes <= rounds * self.round_bytes


NEAR = Profile("near", 1 << 20)
"""One machine or one room: a round takes what a megabyte takes that is dealt and unpacked."""
