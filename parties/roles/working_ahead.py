"""Computing parties compute halves of products for the next deals in stock, while nobody waits for them.

What a party can know of a session before its input follows from the deal's seeds and, if it has one, its tape: see
`secure.protocols.masked.ahead`. It is kept in memory alone, as secret as the seed, for a few deals of each shape that
was dealt or asked for. It moves work and saves none: so it is begun while no session is there, given up at the next
gate when one comes, and dropped when one needs the memory. The thread has the priority of all others: one that the
system stops while it holds the interpreter's lock would hold up those of a session that has just come.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from secure.models.program import Nobody
from secure.models.storage.capacity import human_bytes
from secure.parties.roles.engine import Engine, Tools
from secure.parties.roles.store import ModelStore
from secure.parties.stock.background import Background
from secure.parties.stock.binding import Binding, short_name
from secure.parties.stock.store import Deal, Store
from secure.protocols.core.errors import SecureInferenceError, SessionError
from secure.protocols.masked.ahead import Ahead

WARM = 2
"""Deals of each shape for which a party works ahead."""
_SHAPES_KEPT = 16
_PAUSE_SECONDS = 0.5
_LOG = logging.getLogger("parties")


@dataclass
class AheadTools(Tools):
    """What a party walks through a deal's program with, before there is an input."""

    deal: Deal
    check: Callable[[], None]

    @property
    def index(self) -> None:
        return None

    @property
    @abstractmethod
    def made(self) -> Ahead | None:
        """What it has computed, when the program is over; None where it did not come to that."""


Walks = Callable[[Deal, Callable[[], None]], Sequence[AheadTools]]
"""(deal, what is called at each gate) -> tools for each walk through its program, of which each has its own part."""


class WorkingAhead:
    """One party's work ahead, in a thread of its own."""

    def __init__(
        self, walks: Walks, store: Store, models: ModelStore, engine: Engine, is_idle: Callable[[], bool]
    ) -> None:
        """is_idle: whether no session is there."""
        self._walks = walks
        self._store = store
        self._models = models
        self._engine = engine
        self._is_idle = is_idle
        self._shapes: dict[Binding, str] = {}
        """Requests as JSON, the last one that was seen at the end."""
        self._ahead: dict[str, tuple[Ahead, ...]] = {}
        self._refused: set[str] = set()
        """Deals for which it cannot be done."""
        self._lock = threading.Lock()
        self.background = Background("work ahead", self._work_for_the_next, _PAUSE_SECONDS, level=logging.WARNING)

    def start(self) -> None:
        """Begin, when there is something to work for."""
        self.background.start()

    def stop(self) -> None:
        """Give up what is being done, and end."""
        self.background.stop()
        self.background.join()

    def expect(self, binding: Binding, request_json: str) -> None:
        """Sessions of this kind will come."""
        with self._lock:
            self._shapes.pop(binding, None)
            self._shapes[binding] = request_json
            while len(self._shapes) > _SHAPES_KEPT:
                self._shapes.pop(next(iter(self._shapes)))

    def take(self, name: str) -> tuple[Ahead, ...] | None:
        """What there is for a deal that was spent, for its session alone: of each walk."""
        with self._lock:
            return self._ahead.pop(name, None)

    def drop(self) -> None:
        """Give back the memory of all that is there."""
        with self._lock:
            self._ahead.clear()

    def _work_for_the_next(self) -> None:
        with self._lock:
            shapes = list(self._shapes.items())
        wanted = {binding: self._store.names(binding)[:WARM] for binding, _ in shapes}
        # A session spends its deal and then takes what was made for it. One that spent it before the names were
        # read has taken that by now, or is still there.
        if not self._is_idle():
            return
        self._forget_but({name for names in wanted.values() for name in names})
        for binding, request_json in reversed(shapes):
            for name in wanted[binding]:
                if self._is_idle() and name not in self._ahead and name not in self._refused:
                    self._work(binding, request_json, name)

    def _forget_but(self, names: set[str]) -> None:
        """What was kept for deals that are gone serves nobody."""
        with self._lock:
            for name in self._ahead.keys() - names:
                del self._ahead[name]
            self._refused &= names

    def _work(self, binding: Binding, request_json: str, name: str) -> None:
        """One deal's. Whatever hinders it is met again by the session, which says so."""
        stored, deal, began = self._models.current(binding.model_digest), self._store.look_at(name), time.monotonic()
        if stored is None or stored.load_id != binding.load_id or deal is None:
            return
        try:
            free, needed = self._engine.free_bytes(), self._engine.working_set_bytes(stored.model, request_json)
            if free is not None and free < 2 * needed:
                return  # a session has to find room beside it
            walks = self._walks(deal, self._check)
            for tools in walks:
                self._engine.predict(tools, stored.model, request_json, Nobody(), binding.network_profile)
        except _GivenUp:
            return
        except SecureInferenceError as error:
            _LOG.warning("deal %s: nothing is computed ahead: %s", short_name(name), error)
            self._refused.add(name)
            return
        except Exception:
            self._refused.add(name)  # so that the next turn goes on with another one
            raise
        finally:
            if deal.tape is not None:
                deal.tape.close()
        made = tuple(each for each in (tools.made for tools in walks) if each is not None and each.products)
        if made and len(made) == len(walks):
            with self._lock:
                self._ahead[name] = made
            seconds, size = time.monotonic() - began, sum(each.size_bytes for each in made)
            _LOG.info("deal %s: %s computed ahead in %.3f s", short_name(name), human_bytes(size), seconds)
        else:
            self._refused.add(name)  # as with public weights

    def _check(self) -> None:
        if self.background.stopping.is_set() or not self._is_idle():
            raise _GivenUp("somebody waits")


class _GivenUp(SessionError):
    """A session has come, or the process ends."""
