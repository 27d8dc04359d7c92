"""The dealer in a session: it dials both parties, hands each its seed, and streams corrections to p1.

It runs ahead of the parties as far as its send budget allows. Nothing comes back but an Accept and an End.
"""

from __future__ import annotations

import os

from secure.parties.roles.engine import DealerTools, Tools
from secure.parties.roles.party import SEED_BYTES, Role
from secure.parties.session.session import Session
from secure.parties.transport.link import GrpcChannel


class Dealer(Role):
    """Draws fresh seeds for every session; they exist in memory and inside TLS only."""

    def join(self, session: Session) -> Tools:
        to_p0 = self.dial(session, "p0", "Deal")
        to_p1 = self.dial(session, "p1", "Deal", self.settings.limits.dealer_send_bytes)
        seeds = (os.urandom(SEED_BYTES), os.urandom(SEED_BYTES))
        to_p0.send_message(seeds[0])
        to_p1.send_message(seeds[1])
        return DealerTools(
            session=bytes.fromhex(session.id), seeds=seeds, to_p1=GrpcChannel(to_p1), on_layer=session.on_layer
        )
