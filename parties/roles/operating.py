"""What a party does for its own operator, who asks with the party's own certificate: deal ahead, show, verify, burn."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

from secure.parties.roles.dealing_ahead import FillsStocks
from secure.parties.roles.engine import MeterRows
from secure.parties.session.session import Session
from secure.parties.stock.background import Background
from secure.parties.stock.store import Store
from secure.parties.transport.wire_pb2 import Frame, Kind, Progress
from secure.protocols.core.errors import ConfigurationError, InputError


class Operating:
    """What a party has to do it with.

    deals_ahead: of the dealer, or of p0 where there is none; store: of p0 and p1; beside: what runs in threads beside
    sessions.
    """

    def __init__(self, role: str) -> None:
        self.deals_ahead: FillsStocks | None = None
        self.store: Store | None = None
        self.beside: list[Background] = []
        self._role = role

    def serve(self, session: Session) -> MeterRows:
        """Do what is asked; what there is to tell. Raises InputError for something else."""
        if session.hello.kind == Kind.KIND_DEAL:
            return self._deal(session)
        store, asked = self.store, json.loads(session.hello.request)
        if asked["action"] == "troubles":
            return [{"trouble": f"{each.name}: {each.trouble}"} for each in self.beside if each.trouble]
        if store is None:
            raise ConfigurationError(f"{self._role} keeps no stock: give its settings a [stock], and start it again")
        if asked["action"] == "verify":
            return [{"damaged": line} for line in store.verify()]
        if asked["action"] == "burn":
            return [{"burnt": store.burn_shape(asked["shape"])}]
        if asked["action"] == "names":
            return [{"name": name} for name in store.names()]
        if asked["action"] != "show":
            raise InputError(f"{asked['action']!r} is nothing that a stock does")
        return [asdict(tally) for tally in store.tallies()]

    def _deal(self, session: Session) -> MeterRows:
        if self.deals_ahead is None:
            raise ConfigurationError(
                f"{self._role} deals nothing ahead, and makes nothing: ask the dealer or, where there is none, p0, "
                "with a [stock] in its settings"
            )
        began, size = time.monotonic(), 0
        for number in range(session.hello.count):
            size = self.deals_ahead.deal(session.hello.model_digest, session.hello.request, session.check)
            session.run.post(Frame(progress=Progress(layer="dealt", index=number + 1)))
        return [{"dealt": session.hello.count, "bytes": size, "seconds": time.monotonic() - began}]
