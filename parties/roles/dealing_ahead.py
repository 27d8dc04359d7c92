"""The dealer works ahead: it runs a session's program for nobody, and the parties keep what comes of it.

A deal has a name, which takes the place of a session's id in the keys of all generators, and seeds of its own. So it
shares no address with any session, and nothing about it depends on who will use it.
"""

from __future__ import annotations

import itertools
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from secure.models.program import ClientSteps
from secure.parties.roles.dealer import DealingRole
from secure.parties.roles.engine import Engine
from secure.parties.roles.role import Role
from secure.parties.roles.store import ModelStore, StoredModel
from secure.parties.session.handshake import PROTOCOL_VERSION, as_role, compare, digest_of_request, new_session_id
from secure.parties.session.reservations import Reservations
from secure.parties.stock.ledger import NAME_BYTES, RUN_BYTES
from secure.parties.transport.link import GrpcChannel, Link
from secure.parties.transport.wire_pb2 import Accept, End, Frame, Hello, Kind, Progress
from secure.protocols.core.errors import ModelNotLoaded, ProtocolError
from secure.protocols.core.profile import named


class FillsStocks(ABC):
    """What fills stocks, one deal at a time; names never repeat, also not after a restart."""

    def __init__(self, role: Role, engine: Engine, models: ModelStore, reservations: Reservations) -> None:
        self._role = role
        self._engine = engine
        self._models = models
        self._reservations = reservations
        self._run = os.urandom(RUN_BYTES)
        self._numbers = itertools.count(1)
        self._alone = threading.Lock()

    @abstractmethod
    def in_stock(self, model_digest: str, request_json: str) -> int:
        """How many deals p0 has for a request."""

    @abstractmethod
    def deal(self, model_digest: str, request_json: str, check: Callable[[], None]) -> int:
        """One deal into all stocks; the bytes that are kept of it. check: called at each layer, raises to give up."""

    def _new_name(self) -> bytes:
        """A name for a deal: drawn for this process, and counted in it."""
        return self._run + next(self._numbers).to_bytes(NAME_BYTES - RUN_BYTES, "big")

    def _model(self, model_digest: str) -> StoredModel:
        stored = self._models.current(model_digest)
        if stored is None:
            name = "the dealer" if self._role.name == "dealer" else self._role.name
            raise ModelNotLoaded(f"{name} has no model {model_digest[:12]}; load it first, from any client")
        return stored


class DealsAhead(FillsStocks):
    """Deals for the stock, one at a time; names never repeat, also not after a restart."""

    def __init__(self, role: DealingRole, engine: Engine, models: ModelStore, reservations: Reservations) -> None:
        super().__init__(role, engine, models, reservations)
        self._dealer = role
        self._sizes: dict[tuple[str, str], int] = {}
        """What tapes of a model and a request took, for the parties to set aside."""

    def in_stock(self, model_digest: str, request_json: str) -> int:
        """How many deals p0 has. Raises ModelNotLoaded, PartyUnreachable, or what p0 reports."""
        hello = self._hello(self._model(model_digest), model_digest, request_json, "")
        link, accept = self._dial("p0", hello)
        link.finish()
        return accept.in_stock

    def deal(self, model_digest: str, request_json: str, check: Callable[[], None]) -> int:
        """One deal into all stocks; the bytes of its tape, which each party has but p0.

        check: called at each layer, raises to give up.

        Raises InputError for a request that the model does not serve, StockFull, PartyUnreachable, PartyLost.
        """
        with self._alone:
            stored = self._model(model_digest)
            needed = self._engine.working_set_bytes(stored.model, request_json)
            with self._reservations.reserved(needed):
                return self._deal(stored, model_digest, request_json, check)

    def _deal(self, stored: StoredModel, model_digest: str, request_json: str, check: Callable[[], None]) -> int:
        name = self._new_name()
        hello = self._hello(stored, model_digest, request_json, name.hex())
        links: dict[str, Link] = {}
        try:
            for role in reversed(self._role.settings.family.computing):
                links[role] = self._dial(role, hello)[0]
            *holders, p0 = links
            ways = {role: GrpcChannel(link) for role, link in links.items()}
            seeds = self._dealer.draw()
            tools = self._dealer.begin(name, seeds, ways, lambda layer: check())
            for role in holders:
                _send_seeds(links[role], seeds[role])
            unasked = _Unasked([links[role] for role in holders])
            self._engine.predict(tools, stored.model, request_json, unasked, named(hello.profile))
            _settle([links[role] for role in holders], hello.deal)
            _send_seeds(links[p0], seeds[p0])
            _settle([links[p0]], hello.deal)
            last = holders[-1]
            size = links[last].traffic.bytes_sent - sum(len(seed) for seed in seeds[last])
            self._sizes[model_digest, request_json] = size
            for link in links.values():
                link.post_end()
            return size
        except BaseException:
            for link in links.values():
                link.cancel()
            raise

    def _hello(self, stored: StoredModel, model_digest: str, request_json: str, name: str) -> Hello:
        return Hello(
            protocol_version=PROTOCOL_VERSION,
            session=new_session_id(),
            role="dealer",
            kind=Kind.KIND_DEAL,
            model_digest=model_digest,
            policy_digest=stored.policy_digest,
            load_id=stored.load_id,
            request=request_json,
            request_digest=digest_of_request(request_json),
            family=self._role.settings.protocol,
            deal=name,
            profile=self._role.settings.profile,
            deal_bytes=self._sizes.get((model_digest, request_json), 0),
        )

    def _dial(self, role: str, hello: Hello) -> tuple[Link, Accept]:
        budget = self._role.settings.limits.dealer_send_bytes
        link, accept = self._role.dialer.dial(role, "Stock", hello, budget)
        compare(as_role(hello, "dealer"), accept.hello, f"dealer with {role}")
        return link, accept


def _send_seeds(link: Link, seeds: Sequence[bytes]) -> None:
    for seed in seeds:
        link.send_message(seed)


def _settle(links: Sequence[Link], name: str) -> None:
    """Say that the deal is whole, and wait for the word of these parties that they have it."""
    for link in links:
        link.post(Frame(end=End()))
    for link in links:
        frame = link.next_frame()
        if not (isinstance(frame, Frame) and frame.HasField("stored") and frame.stored.deal == name):
            raise ProtocolError(f"{link.peer} answered a deal with something other than its name")


class _Unasked(ClientSteps):
    """A session that nobody has asked for yet: all its steps are dealt, one after the other."""

    def __init__(self, to_holders: Sequence[Link]) -> None:
        """to_holders: to the parties that are sent what is dealt."""
        self._to_holders = to_holders

    def receive(self, step: int) -> bytes:
        for link in self._to_holders:
            link.post(Frame(progress=Progress(index=step)))
        return b""

    def send(self, payload: bytes) -> None:
        raise ProtocolError("nobody waits for this")
