"""All that a role with a `[stock]` in its settings has beside its sessions, and the streams that belong to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from secure.parties.config import PartiesSettings
from secure.parties.roles.dealing_ahead import DealsAhead
from secure.parties.roles.engine import Engine
from secure.parties.roles.filler import Filler
from secure.parties.roles.party import ComputingRole
from secure.parties.roles.role import Role
from secure.parties.roles.stocking import take_in
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
    """p0 and p1 keep deals, p0 compares, the dealer fills."""

    def __init__(self, settings: PartiesSettings, role: Role, engine: Engine, worker: Worker, key: StoreKey) -> None:
        """Raises ConfigurationError: a store that another process uses, a wrong shape."""
        assert settings.stock is not None
        self.streams: Mapping[str, Served] = {}
        """Streams that this role answers."""
        self._filler: Filler | None = None
        self._comparing: Comparing | None = None
        self._ahead: WorkingAhead | None = None
        if isinstance(role, ComputingRole):
            folder = settings.stock.dir / role.name
            store = Store(folder, key, settings.stock.max_bytes)
            self._keep(role, store, settings, engine, worker)
        else:
            deals = DealsAhead(role, engine, worker.models, worker.reservations)
            worker.operating.deals_ahead = deals
            self._filler = Filler(settings, engine, deals, lambda: role.registry.running == 0)
            worker.operating.beside.append(self._filler.background)

    def _keep(
        self, role: ComputingRole, store: Store, settings: PartiesSettings, engine: Engine, worker: Worker
    ) -> None:
        assert settings.stock is not None
        worker.operating.store = store
        index = int(role.name == "p1")
        ahead = WorkingAhead(index, store, worker.models, engine, lambda: role.registry.running == 0)
        role.working_ahead = self._ahead = ahead
        worker.operating.beside.append(ahead.background)
        worker.reservations.when_short = ahead.drop
        role.from_stock = FromStock(
            store, fallback=settings.stock.fallback, wait_seconds=settings.limits.rendezvous_seconds
        )
        streams: dict[str, Served] = {
            "Stock": lambda link, hello: take_in(link, hello, role.name, store, worker.models, ahead.expect)
        }
        if role.name == "p0":
            role.comparing = self._comparing = Comparing(role.dialer, settings.protocol, role.from_stock)
            worker.operating.beside.append(self._comparing.background)
        else:
            streams["Reconcile"] = lambda link, hello: answer_comparison(link, hello, store)
        self.streams = streams

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
