"""A party's ledger: which deals it has, and in which state each is. One SQLite file; each commit is on the disk.

    filling -> stock -> spent        nothing leaves `spent` and `burnt`
       \\________\\____-> burnt

`spend` is one compare-and-set from `stock` that names the one session which may use the deal. It returns after the
commit's fsync. A deal's name is its run, 8 bytes that a dealer drew at random at its start, and a number. The ledger
keeps the highest number of each run for ever, so a name that was here before is refused even when its row is gone.

When a deal came, and the day on which it was spent, stand there for operators to read; nothing is decided by them.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from secure.parties.stock.binding import Binding, short_name
from secure.protocols.core.errors import ConfigurationError, NoCorrelations, StockFull

RUN_BYTES = 8
NAME_BYTES = 16
FILE_NAME = "ledger.sqlite"
_ROWS_KEPT = 100_000
"""So many of the latest spent and burnt deals stay. Older ones are dropped at a start."""
_TABLES = """
create table if not exists deals (
    number integer primary key, name text not null unique, shape text not null, bound text not null,
    size_bytes integer not null default 0, wrapped blob,
    state text not null check (state in ('filling', 'stock', 'spent', 'burnt')), session text unique, why text,
    stocked_at integer, spent_day integer);
create index if not exists in_stock on deals (bound, number) where state = 'stock';
create table if not exists runs (run text primary key, highest integer not null);
create table if not exists facts (name text primary key, value text not null);
"""
_DAY_SECONDS = 86_400
_LOG_PAGES = 256
"""So many pages of 4 KiB the write-ahead log has before it is copied into the file and begun anew."""


@dataclass(frozen=True)
class DealRow:
    """A deal as the ledger has it. wrapped: seeds and tape key under the store's key."""

    name: str
    wrapped: bytes
    size_bytes: int

    def __repr__(self) -> str:
        return f"DealRow({short_name(self.name)}, keys hidden)"


@dataclass(frozen=True)
class Tally:
    """How many deals of one shape are in one state, for one reason.

    oldest_seconds: how long ago the oldest of them came, where they are in stock. days: how long they last at the use
    of today or yesterday, whichever was larger; None where there was none, or where they are not in stock.
    """

    shape: str
    state: str
    why: str
    count: int
    size_bytes: int
    oldest_seconds: int | None = None
    days: float | None = None


class Ledger:
    """Safe to use from several threads, and beside another process that reads or burns."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigurationError for a file of another version, or one that is no ledger."""
        self._lock = threading.Lock()
        (folder / FILE_NAME).touch(mode=0o600)  # SQLite gives the files beside it the same mode
        self._db = sqlite3.connect(folder / FILE_NAME, isolation_level=None, timeout=30, check_same_thread=False)
        try:
            _check_columns(self._db, folder)
        except ConfigurationError:
            self._db.close()
            raise
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.execute("pragma secure_delete = on")
        self._db.executescript(_TABLES)
        self._lengthen_log()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _lengthen_log(self) -> None:
        """Give the write-ahead log the length that it keeps: a commit then writes over what was there.

        A file that grows has its length written with every commit, which takes as long again as the commit.
        """
        self._db.execute(f"pragma wal_autocheckpoint = {_LOG_PAGES}")
        with self._commit() as db:
            db.execute("insert or replace into facts values ('log', zeroblob(? * 4096))", (_LOG_PAGES + 32,))
        with self._commit() as db:
            db.execute("delete from facts where name = 'log'")
        self._db.execute("pragma wal_checkpoint(restart)").fetchall()

    # filling

    def begin(self, name: str, shape: str, binding: Binding, wrapped: bytes) -> None:
        """Note a deal that is about to come. Raises NoCorrelations when its name was here before."""
        run, counter = name[: 2 * RUN_BYTES], int(name[2 * RUN_BYTES :], 16)
        with self._commit() as db:
            higher = db.execute(
                "insert into runs values (?, ?) on conflict (run) do update set highest = excluded.highest "
                "where excluded.highest > highest",
                (run, counter),
            )
            if higher.rowcount != 1:
                raise NoCorrelations(
                    f"deal {short_name(name)} was offered before; the dealer must not use a name again"
                )
            db.execute(
                "insert into deals (name, shape, bound, wrapped, state) values (?, ?, ?, ?, 'filling')",
                (name, shape, binding.to_json(), wrapped),
            )

    def stocked(self, name: str, size_bytes: int) -> bool:
        """The deal is whole: it is in stock from now on. False when it was burnt meanwhile."""
        with self._commit() as db:
            done = db.execute(
                "update deals set state = 'stock', size_bytes = ?, stocked_at = ? where name = ? and state = 'filling'",
                (size_bytes, int(time.time()), name),
            )
            return done.rowcount == 1

    # spending

    def spend_oldest(self, session: str, binding: Binding) -> DealRow | None:
        """The oldest deal in stock for such a session, spent for this one; None where there is none."""
        with self._commit() as db:
            found = db.execute(
                "select name, wrapped, size_bytes from deals where bound = ? and state = 'stock' "
                "order by number limit 1",
                (binding.to_json(),),
            ).fetchone()
            return None if found is None else self._spent(db, session, DealRow(*found))

    def spend(self, session: str, name: str, binding: Binding) -> DealRow:
        """That deal, spent for this session. Raises NoCorrelations for any other state, and for another binding.

        A deal that is in stock for something else is burnt: another party has spent it.
        """
        with self._commit() as db:
            found = db.execute("select wrapped, size_bytes, state, bound from deals where name = ?", (name,)).fetchone()
            if found is None:
                raise NoCorrelations(f"deal {short_name(name)} is not in this party's stock")
            wrapped, size_bytes, state, bound = found
            if state != "stock":
                raise NoCorrelations(f"deal {short_name(name)} is {state}, it cannot be used")
            different = binding.difference(bound)
            if not different:
                return self._spent(db, session, DealRow(name, wrapped, size_bytes))
        self.burn([name], f"it was asked for by a session of another {different}")
        raise NoCorrelations(f"deal {short_name(name)} was made for another {different}; it is burnt")

    def _spent(self, db: sqlite3.Connection, session: str, row: DealRow) -> DealRow:
        # With the key gone from the row, a copy of the disk that is made from here on cannot open the tape.
        done = db.execute(
            "update deals set state = 'spent', wrapped = null, session = ?, spent_day = ? "
            "where name = ? and state = 'stock'",
            (session, int(time.time()) // _DAY_SECONDS, row.name),
        )
        if done.rowcount != 1:
            raise NoCorrelations(f"deal {short_name(row.name)} is not in stock any more")
        return row

    # burning

    def burn(self, names: Sequence[str], why: str) -> list[str]:
        """Never use these deals; those that were not yet spent or burnt. Burning what is spent changes nothing."""
        with self._commit() as db:
            return [
                name
                for name in names
                if db.execute(
                    "update deals set state = 'burnt', wrapped = null, why = ? "
                    "where name = ? and state in ('filling', 'stock')",
                    (why, name),
                ).rowcount
            ]

    def drop_old_rows(self) -> None:
        """Forget spent and burnt deals but the latest; their names stay refused."""
        with self._commit() as db:
            db.execute(
                "delete from deals where state in ('spent', 'burnt') and number <= (select max(number) - ? from deals)",
                (_ROWS_KEPT,),
            )

    # reading

    def names(self, state: str, binding: Binding | None = None) -> list[str]:
        """Names of deals in a state, the oldest first. binding: of what they were made for; None for all."""
        where, values = ("", ()) if binding is None else (" and bound = ?", (binding.to_json(),))
        return [
            name
            for (name,) in self._read(f"select name from deals where state = ?{where} order by number", state, *values)
        ]

    def names_of_model(self, model_digest: str, but_load: str) -> list[str]:
        """Names of deals in stock or filling for a model under other masks than those of one load."""
        return [
            name
            for (name,) in self._read(
                "select name from deals where state in ('filling', 'stock') "
                "and json_extract(bound, '$.model_digest') = ? and json_extract(bound, '$.load_id') <> ?",
                model_digest,
                but_load,
            )
        ]

    def rows(self) -> list[DealRow]:
        """The deals in stock."""
        return [
            DealRow(*row) for row in self._read("select name, wrapped, size_bytes from deals where state = 'stock'")
        ]

    def shapes(self) -> list[tuple[str, str]]:
        """Names and shapes of the deals in stock."""
        return [
            (str(name), str(shape)) for name, shape in self._read("select name, shape from deals where state = 'stock'")
        ]

    def size_bytes(self) -> int:
        """What tapes in stock take."""
        ((total,),) = self._read("select coalesce(sum(size_bytes), 0) from deals where state = 'stock'")
        return int(total)

    def tallies(self) -> list[Tally]:
        """All deals by shape, state and reason."""
        query = (
            "select shape, state, coalesce(why, ''), count(*), sum(size_bytes), min(stocked_at) from deals "
            "group by 1, 2, 3 order by 1, instr('stock filling spent burnt', state), 3"
        )
        now = int(time.time())
        # By shape, how many deals were spent today or yesterday, whichever are more.
        spent = "select shape, count(*) from deals where spent_day >= ? group by shape, spent_day order by 2"
        used = {str(shape): int(count) for shape, count in self._read(spent, now // _DAY_SECONDS - 1)}
        found = []
        for shape, state, why, count, size_bytes, since in self._read(query):
            tally = Tally(shape, state, why, count, size_bytes)
            if state == "stock":
                days = count / used[shape] if shape in used else None
                tally = replace(tally, oldest_seconds=max(0, now - since), days=days)
            found.append(tally)
        return found

    def exchange_fact(self, name: str, value: str) -> str:
        """Keep a fact about the whole store; what was kept before, or ''."""
        with self._commit() as db:
            before = db.execute("select value from facts where name = ?", (name,)).fetchone()
            db.execute("insert or replace into facts values (?, ?)", (name, value))
            return "" if before is None else str(before[0])

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _commit(self) -> Iterator[sqlite3.Connection]:
        """One transaction. Where the block or the commit fails, nothing of it holds, and the error is raised.

        Raises StockFull for what SQLite reports of the disk, and NoCorrelations where a name or session comes again.
        """
        with self._lock:
            try:
                self._db.execute("begin immediate")
                yield self._db
                self._db.execute("commit")
            except sqlite3.IntegrityError:
                self._undo()
                raise NoCorrelations(
                    "this session has spent a deal already, or a deal's name was here before"
                ) from None
            except sqlite3.Error as error:
                self._undo()
                raise StockFull(f"the ledger of the stock cannot be written: {error}") from None
            except BaseException:
                self._undo()
                raise

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("rollback")


def _check_columns(db: sqlite3.Connection, folder: Path) -> None:
    """Raises ConfigurationError where a file has tables already, and not those of this version."""
    advice = (
        f"stop the party and remove {FILE_NAME}* and *.tape there: the deals in stock are lost, models stay. The other "
        "party burns its halves when both meet again"
    )
    try:
        found = _columns(db)
    except sqlite3.DatabaseError as error:
        raise ConfigurationError(f"{folder / FILE_NAME} is no ledger of a stock ({error}); {advice}") from None
    with closing(sqlite3.connect(":memory:")) as empty:
        empty.executescript(_TABLES)
        due = _columns(empty)
    if found and found != due:
        differing = sorted(set(found) ^ set(due))
        raise ConfigurationError(
            f"the ledger {folder / FILE_NAME} is of another version: it differs in {', '.join(differing)}; {advice}"
        )


def _columns(db: sqlite3.Connection) -> list[str]:
    """All columns of all tables, as TABLE.COLUMN."""
    query = (
        "select t.name || '.' || c.name from sqlite_master t, pragma_table_info(t.name) c "
        "where t.type = 'table' and t.name not like 'sqlite_%'"
    )
    return sorted(name for (name,) in db.execute(query))
