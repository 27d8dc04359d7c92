"""All that a role with a `[stock]` in its settings has beside its sessions, and the streams that belong to it."""

from __future__ import annotations

from collections.abc import Callable

from secure.parties.config import PartiesSettings
from secure.parties.roles.dealer import DealingRole
from secure.parties.roles.dealing_ahead import DealsAhead, FillsStocks
from secure.parties.roles.engine import Engine
from secure.parties.roles.filler import Filler
from secure.parties.roles.hybrid.making_ahead import MakesAhead
from secure.parties.roles.hybrid.role import OneOfTwo
from secure.parties.roles.party import ComputingRole
from secure.parties.roles.role import Role, StockedRole
from secure.parties.roles.stocking import take_in
from secure.parties.roles.witnessed import EvaluatingRole
from secure.parties.roles.worker import Worker
from secure.parties.roles.working_ahead import WorkingAhead
from secure.parties.stock.from_stock import FromStock
from secure.parties.stock.key import StoreKey
from secure.parties.stock.reconciling import Comparing, answer_comparison
from secure.parties.stock.store import Store
from secure.parties.transport.link import Link
from secure.parties.transport.wire_pb2 import Hello

Served = Callable[[Link, Hello], None]
"""Serves one stream of a peer to its end; raises what ends it early."""


class StockRoom:
    """The computing parties keep deals, p0 compares, the dealer fills; without a dealer p0 does."""

    def __init__(self, settings: PartiesSettings, role: Role, engine: Engine, worker: Worker, key: StoreKey) -> None:
        """Raises ConfigurationError: a store that another process uses, a wrong shape."""
        assert settings.stock is not None
        self.streams: dict[str, Served] = {}
        """Streams that this role answers."""
        self._filler: Filler | None = None
        self._comparing: Comparing | None = None
        self._ahead: WorkingAhead | None = None
        if isinstance(role, StockedRole):
            store = Store(settings.stock.dir / role.name, key, settings.stock.max_bytes)
            role.from_stock = FromStock(
                store, fallback=settings.stock.fallback, wait_seconds=settings.limits.rendezvous_seconds
            )
            worker.operating.store = store
            if role.name == "p0":
                role.comparing = self._comparing = Comparing(role.dialer, settings.family, role.from_stock)
                worker.operating.beside.append(self._comparing.background)
            else:
                self.streams["Reconcile"] = lambda link, hello: answer_comparison(link, hello, role.name, store)
            if isinstance(role, OneOfTwo):
                self._keep_made(role, store, settings, engine, worker)
            elif isinstance(role, ComputingRole | EvaluatingRole):
                self._keep_dealt(role, store, engine, worker)
        elif isinstance(role, DealingRole):
            self._fill(settings, engine, DealsAhead(role, engine, worker.models, worker.reservations), role, worker)

    def _keep_dealt(self, role: ComputingRole | EvaluatingRole, store: Store, engine: Engine, worker: Worker) -> None:
        """What a dealer deals ahead is kept, and worked on ahead."""
        ahead = WorkingAhead(role.walks_ahead, store, worker.models, engine, lambda: role.registry.running == 0)
        role.working_ahead = self._ahead = ahead
        worker.operating.beside.append(ahead.background)
        worker.reservations.when_short = ahead.drop
        self.streams["Stock"] = lambda link, hello: take_in(link, hello, role.name, store, worker.models, ahead.expect)

    def _keep_made(
        self, role: OneOfTwo, store: Store, settings: PartiesSettings, engine: Engine, worker: Worker
    ) -> None:
        """What both parties make ahead is kept; p0 asks for it."""
        making = MakesAhead(role, engine, worker.models, worker.reservations, store)
        if role.name == "p0":
            self._fill(settings, engine, making, role, worker)
        else:
            self.streams["Make"] = making.answer

    def _fill(self, settings: PartiesSettings, engine: Engine, deals: FillsStocks, role: Role, worker: Worker) -> None:
        worker.operating.deals_ahead = deals
        self._filler = Filler(settings, engine, deals, lambda: role.registry.running == 0)
        worker.operating.beside.append(self._filler.background)

    def start(self) -> None:
        """Begin what runs in threads of its own, when the port is open."""
        if self._comparing is not None:
            self._comparing.start()
        if self._filler is not None:
            self._filler.start()
        if self._ahead is not None:
            self._ahead.start()

    def give_up(self) -> None:
        """Begin nothing more, and work no more ahead."""
        if self._filler is not None:
            self._filler.give_up()
        if self._ahead is not None:
            self._ahead.stop()

    def join(self) -> None:
        """Wait for the filler, after the role's connections are closed."""
        if self._filler is not None:
            self._filler.join()
