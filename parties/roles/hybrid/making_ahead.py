"""p0 and p1 make correlations ahead, for their stocks: p0 asks, both talk, and p1 has its part before p0 has its own.

A making has a name, which takes the place of a session's id in the keys of all generators, and each party a seed of its
own. So it shares no address with any session, and nothing about it depends on who will use it. Whoever is killed while
it is made, or before both have it, leaves something that the next start or comparison burns.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from secure.models.program import Nobody
from secure.parties.roles.dealing_ahead import FillsStocks
from secure.parties.roles.engine import Engine
from secure.parties.roles.hybrid.role import OneOfTwo
from secure.parties.roles.hybrid.shelves import WrittenShelf
from secure.parties.roles.hybrid.tools import MakingTools
from secure.parties.roles.store import ModelStore, StoredModel
from secure.parties.session.handshake import (
    PROTOCOL_VERSION,
    as_role,
    check_profile,
    check_session_id,
    compare,
    digest_of_request,
    new_session_id,
)
from secure.parties.session.reservations import Reservations
from secure.parties.stock.binding import Binding, shape_of, short_name
from secure.parties.stock.store import Store
from secure.parties.transport.link import GrpcChannel, Link
from secure.parties.transport.wire_pb2 import Accept, Frame, Hello, Kind, Stored
from secure.protocols.core.errors import HandshakeError, ModelNotLoaded, ProtocolError, SecureInferenceError
from secure.protocols.core.profile import named
from secure.protocols.hybrid.gates.gate import Made
from secure.protocols.hybrid.protocol import fresh_stock

_LOG = logging.getLogger("parties")
_SEALED_PART = 1.05
"""A tape is larger than what is kept on it, by no more than this."""


class MakesAhead(FillsStocks):
    """What one party does of a making: p0 in `deal`, p1 in `answer`. One at a time."""

    def __init__(
        self, role: OneOfTwo, engine: Engine, models: ModelStore, reservations: Reservations, store: Store
    ) -> None:
        super().__init__(role, engine, models, reservations)
        self._store = store
        self._sizes: dict[tuple[str, str], Made] = {}
        """What makings for a model and a request keep, to set room aside."""

    def in_stock(self, model_digest: str, request_json: str) -> int:
        """How many makings p0 has. Raises ModelNotLoaded."""
        return len(self._store.names(Binding.of(self._hello(self._model(model_digest), model_digest, request_json))))

    def deal(self, model_digest: str, request_json: str, check: Callable[[], None]) -> int:
        """One making into both stocks; the bytes that both keep of it.

        check: called at each layer, raises to give up. Raises InputError for a request that the model does not serve,
        ModelNotLoaded, StockFull, PartyUnreachable, PartyLost, or what p1 reports.
        """
        with self._alone:
            stored = self._model(model_digest)
            hello = self._hello(stored, model_digest, request_json)
            hello.deal = self._new_name().hex()
            known = self._sizes.get((model_digest, request_json), Made())
            hello.deal_bytes = round(_SEALED_PART * known.p1_kept)
            with self._reservations.reserved(self._engine.working_set_bytes(stored.model, request_json)):
                made = self._deal(stored, hello, round(_SEALED_PART * known.p0_kept), check)
            self._sizes[model_digest, request_json] = made
            return made.p0_kept + made.p1_kept

    def _deal(self, stored: StoredModel, hello: Hello, room_bytes: int, check: Callable[[], None]) -> Made:
        link, accept = self._role.dialer.dial("p1", "Make", hello)
        try:
            compare(self._view(hello), accept.hello, "p0 with p1")
            with self._made(link, hello, stored, room_bytes, check) as made:
                # Only when p1 has its part is this one's in stock, so p1 has whatever p0 has.
                frame = link.next_frame()
                if not (isinstance(frame, Frame) and frame.HasField("stored") and frame.stored.deal == hello.deal):
                    raise ProtocolError("p1 answered a making with something other than its name")
            link.post_end()
            return made
        except BaseException:
            link.cancel()
            raise

    def answer(self, link: Link, hello: Hello) -> None:
        """At p1: one making on its stream. Raises what makes this party refuse it."""
        where = "p1, Make"
        check_session_id(hello.deal, f"{where}, deal")
        check_profile(hello, self._role.settings.profile, where)
        stored = self._model(hello.model_digest)
        if stored.load_id != hello.load_id:
            raise ModelNotLoaded(f"p1 does not have the model {hello.model_digest[:12]} as p0 has it; load it again")
        if digest_of_request(hello.request) != hello.request_digest:
            raise HandshakeError(
                "SHA-256 of the request", digest_of_request(hello.request), hello.request_digest, where
            )
        ours = self._view(hello)
        ours.policy_digest = stored.policy_digest
        compare(ours, hello, where)
        with self._reservations.reserved(self._engine.working_set_bytes(stored.model, hello.request)):
            link.post(Frame(accept=Accept(hello=ours)))
            with self._store.unsettled(hello.deal):
                with self._made(link, hello, stored, hello.deal_bytes, _go_on):
                    pass
                link.post(Frame(stored=Stored(deal=hello.deal)))
                # p0 ends the stream when it has its part, too, or when that failed.
                with suppress(SecureInferenceError):
                    link.next_frame()

    @contextmanager
    def _made(
        self, link: Link, hello: Hello, stored: StoredModel, room_bytes: int, check: Callable[[], None]
    ) -> Iterator[Made]:
        """Make one part, with the other party. It is in stock when the block ends in good order."""
        began, index = time.monotonic(), int(self._role.name == "p1")
        stock = fresh_stock(index, bytes.fromhex(hello.deal), self._role.settings.garbler)
        filling = Binding.of(hello), shape_of(hello.request), stock.seed
        with self._store.room_for(room_bytes) as room, self._store.filling(hello.deal, *filling, room) as writer:
            assert writer is not None
            stock.shelf = shelf = WrittenShelf(writer)
            tools = MakingTools(stock, GrpcChannel(link), lambda layer: check())
            self._engine.predict(tools, stored.model, hello.request, Nobody(), named(hello.profile))
            shelf.end(time.monotonic() - began)
            yield Made() if tools.found is None else tools.found.made
        _LOG.info("making %s is in stock after %.3f s", short_name(hello.deal), time.monotonic() - began)

    def _hello(self, stored: StoredModel, model_digest: str, request_json: str) -> Hello:
        """What p0 says of a making, but for its name."""
        return Hello(
            protocol_version=PROTOCOL_VERSION,
            session=new_session_id(),
            role=self._role.name,
            kind=Kind.KIND_DEAL,
            model_digest=model_digest,
            policy_digest=stored.policy_digest,
            load_id=stored.load_id,
            request=request_json,
            request_digest=digest_of_request(request_json),
            family=self._role.settings.protocol,
            garbler=self._role.settings.garbler,
            profile=self._role.profile,
        )

    def _view(self, hello: Hello) -> Hello:
        """This party's view of a making."""
        ours = as_role(hello, self._role.name)
        ours.garbler = self._role.settings.garbler
        return ours


def _go_on() -> None:
    """p1 makes as long as p0 does."""
