"""The seeds of one session: one for each two parties, and one that all three have."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PartySeeds:
    """What one party holds.

    with_next, with_previous: streams of masks that the third party cannot know.
    common: a sharing of zero for the client, who does not know it.
    """

    with_next: bytes = field(repr=False)
    with_previous: bytes = field(repr=False)
    common: bytes = field(repr=False)
