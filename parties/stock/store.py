"""One party's store of deals: the ledger that says which may be used, and tapes, which P0 has of no dealer.

Rule 1: bytes that depend on a deal's masks leave this process only after `spend` has returned, at all parties.
Rule 2: `spend` is one compare-and-set, on the disk when it returns, for one session and for ever.

So bytes under one deal are sent in at most one session, unless all parties lose a write that was committed; where one
of three deviates, all others (see `secure.protocols.witnessed`). What is in any doubt is burnt: what was being filled
at a restart, what was sealed under another key, a tape without a row, a row without its tape. No clock is consulted.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from secure.models.storage.capacity import human_bytes
from secure.parties.stock.binding import Binding, short_name
from secure.parties.stock.key import StoreKey
from secure.parties.stock.ledger import DealRow, Ledger, Tally
from secure.parties.stock.sealed import unwrap, wrap
from secure.parties.stock.segments import KEY_BYTES
from secure.parties.stock.tape import SUFFIX, TapeReader, TapeWriter, check_tape
from secure.protocols.core.errors import (
    ConfigurationError,
    CorrelationsDamaged,
    DamagedFile,
    NoCorrelations,
    StockFull,
)

with suppress(ImportError):  # Windows has none; a client needs none
    import fcntl

_CACHE_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# Spent secrets must not come back from a backup.\n"
"""The mark by which backup programs leave a folder out (bford.info/cachedir)."""
_SPARE_BYTES = 64 << 20
"""What a disk keeps free for the ledger, which must always be able to say that something is spent."""


@dataclass(frozen=True)
class Deal:
    """What a party needs of a deal that it has spent: its name, its seeds in a row and, where it has one, the tape."""

    name: str
    seeds: bytes
    tape: TapeReader | None

    def __repr__(self) -> str:
        return f"Deal({short_name(self.name)}, seeds hidden)"


class Store:
    """Made once by the party's process, which alone fills and spends."""

    def __init__(self, folder: Path, key: StoreKey, max_bytes: int) -> None:
        """Open the store, and burn what is in doubt. Raises ConfigurationError when another process has it open."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._key = key.derived("stock")
        self._unsettled: set[str] = set()
        self._promised_bytes = 0
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        (folder / "CACHEDIR.TAG").write_bytes(_CACHE_TAG)
        self._holder = _held(folder / "lock")
        self._ledger = Ledger(folder)
        self._recover(key.fingerprint)

    def close(self) -> None:
        """Let another process open the store."""
        self._ledger.close()
        os.close(self._holder)

    # filling

    @contextmanager
    def room_for(self, tape_bytes: int | None) -> Iterator[int | None]:
        """Set room aside for a tape; what it may take. tape_bytes: 0 where nobody knows; None where there is no tape.

        Raises StockFull where there is not so much, of `max_bytes` or of the disk.
        """
        if tape_bytes is None:
            yield None
            return
        with self._lock:
            free = shutil.disk_usage(self._folder).free - _SPARE_BYTES
            room = min(self._max_bytes - self._ledger.size_bytes(), free) - self._promised_bytes
            if room < max(1, tape_bytes):
                raise StockFull(
                    f"the stock of {self._folder.name} has no room for a deal of {human_bytes(tape_bytes)}: "
                    f"{human_bytes(max(0, room))} are left of stock.max_bytes and of the disk"
                )
            self._promised_bytes += tape_bytes
        try:
            yield room
        finally:
            with self._lock:
                self._promised_bytes -= tape_bytes

    @contextmanager
    def filling(
        self, name: str, binding: Binding, shape: str, seeds: bytes, room_bytes: int | None
    ) -> Iterator[TapeWriter | None]:
        """Take in one deal: it is in stock when the block ends in good order, and burnt otherwise.

        seeds: all of this party's, in a row. room_bytes: as `room_for` says.

        Raises StockFull, and NoCorrelations for a name that was here before.
        """
        tape_key = os.urandom(KEY_BYTES)
        self._ledger.begin(name, shape, binding, wrap(self._key, seeds + tape_key, name.encode()))
        writer: TapeWriter | None = None
        try:
            if room_bytes is not None:
                writer = TapeWriter(self._path(name), name, tape_key, room_bytes)
            yield writer
            if writer is not None:
                writer.close()
            if not self._ledger.stocked(name, 0 if writer is None else writer.size_bytes):
                raise NoCorrelations(f"deal {short_name(name)} was burnt while it came")
        except BaseException as error:
            if writer is not None:
                writer.discard()
            # Where the ledger cannot be written, the next start burns what is still being filled.
            with suppress(StockFull):
                self._ledger.burn([name], f"filling failed: {type(error).__name__}")
            raise

    @contextmanager
    def unsettled(self, name: str) -> Iterator[None]:
        """Inside the block other parties may not have the deal yet, so it is not among `settled`."""
        with self._lock:
            self._unsettled.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._unsettled.discard(name)

    # spending

    def spend_oldest(self, session: str, binding: Binding) -> Deal:
        """The oldest deal for such a session, for this one alone. Raises NoCorrelations, with the shapes in stock."""
        row = self._ledger.spend_oldest(session, binding)
        if row is None:
            raise NoCorrelations(f"nothing is in stock for this request; there are {self._in_words()}")
        return self._opened(row)

    def spend(self, session: str, name: str, binding: Binding) -> Deal:
        """That deal, for this session alone. Raises NoCorrelations when it is not in stock, or for something else."""
        return self._opened(self._ledger.spend(session, name, binding))

    def _opened(self, row: DealRow, *, stays: bool = False) -> Deal:
        """The seeds of a deal that is spent, or stays, and its tape. Raises NoCorrelations or CorrelationsDamaged."""
        try:
            keys = unwrap(self._key, row.wrapped, row.name.encode())
        except DamagedFile:
            raise NoCorrelations(f"deal {short_name(row.name)} was sealed under another key; it is spent") from None
        seeds, tape_key = keys[:-KEY_BYTES], keys[-KEY_BYTES:]
        path = self._path(row.name)
        return Deal(row.name, seeds, TapeReader(path, row.name, tape_key, stays=stays) if row.size_bytes else None)

    def look_at(self, name: str) -> Deal | None:
        """A deal that stays in stock, for work that sends nothing to anybody. None where it is not there."""
        row = next((row for row in self._ledger.rows() if row.name == name), None)
        with suppress(NoCorrelations, CorrelationsDamaged):  # which is for its session to meet
            return None if row is None else self._opened(row, stays=True)
        return None

    # burning and reading

    def burn(self, names: Sequence[str], why: str) -> int:
        """Never use these deals; how many of them could still have been used."""
        burnt = self._ledger.burn(names, why)
        for name in burnt:
            self._path(name).unlink(missing_ok=True)
        return len(burnt)

    def burn_other_loads(self, model_digest: str, load_id: str) -> int:
        """Burn what was dealt for a model under masks that it no longer has; load_id: of those that it has, or ''."""
        names = self._ledger.names_of_model(model_digest, load_id)
        return self.burn(names, "the model was loaded anew") if names else 0

    def burn_shape(self, shape: str | None) -> int:
        """Burn what is in stock of a shape, as `tallies` has it; None for all."""
        names = [name for name, found in self._ledger.shapes() if shape in (None, found)]
        return self.burn(names, "its operator said so")

    def names(self, binding: Binding | None = None) -> list[str]:
        """What is in stock, the oldest first, which is spent next. binding: for such sessions; None for all."""
        return self._ledger.names("stock", binding)

    def settled(self) -> list[str]:
        """What is in stock and was in every other party's, too, when its stream from the dealer ended."""
        names = self.names()
        with self._lock:
            return [name for name in names if name not in self._unsettled]

    def burn_missing(self, mine: Sequence[str], theirs: Sequence[str]) -> int:
        """Burn what another party does not have; how many. mine: names from before the other one said its own."""
        missing = sorted(set(mine) - set(theirs))
        return self.burn(missing, "another party does not have it") if missing else 0

    def verify(self) -> list[str]:
        """Read every tape in stock from end to end, and burn what is damaged: what was found, a line for each."""
        found = []
        for row in self._ledger.rows():
            try:
                keys = unwrap(self._key, row.wrapped, row.name.encode())
                if row.size_bytes:
                    check_tape(self._path(row.name), row.name, keys[-KEY_BYTES:])
            except (DamagedFile, OSError) as error:
                # A deal that was spent meanwhile has no tape any more, and nothing is wrong with it.
                if self.burn([row.name], f"damaged: {error}"):
                    found.append(f"{short_name(row.name)}: {error}")
        return found

    def tallies(self) -> list[Tally]:
        """All deals by shape, state and reason."""
        return self._ledger.tallies()

    def _in_words(self) -> str:
        shapes = [f"{tally.count} of {tally.shape}" for tally in self.tallies() if tally.state == "stock"]
        return ", ".join(shapes) or "none of any shape"

    def _recover(self, fingerprint: str) -> None:
        """What the process before this one left in doubt."""
        self.burn(self._ledger.names("filling"), "filling was interrupted")
        if self._ledger.exchange_fact("key", fingerprint) != fingerprint:
            self.burn(self.names(), "the key of the stock is gone")
        tapes = {path.stem: path for path in self._folder.glob(f"*{SUFFIX}")}
        sizes = {row.name: row.size_bytes for row in self._ledger.rows()}
        for name, size in sizes.items():
            found = tapes[name].stat().st_size if name in tapes else 0
            if found != size:
                self.burn([name], "its tape is not there" if not found else "its tape has another length")
        for name in tapes.keys() - set(self.names()):
            tapes[name].unlink(missing_ok=True)
        self._ledger.drop_old_rows()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"


def _held(path: Path) -> int:
    """A descriptor of a locked file. Raises ConfigurationError when another process has locked it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigurationError(
            f"another process uses the stock in {path.parent}; each party needs a stock.dir of its own"
        ) from None
    return descriptor
