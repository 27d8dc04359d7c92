"""What a thief of a party's disk learns: each row of SECURITY.md's table, tried on copies of real stores."""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pytest

from secure.parties.stock.binding import Binding
from secure.parties.stock.key import StoreKey
from secure.parties.stock.ledger import FILE_NAME
from secure.parties.stock.store import Store
from secure.protocols.core.errors import NoCorrelations

BOUND = Binding("beaver", 6, "model", "policy", "load", "request", "near", 1 << 20)
UNSPENT, SPENT = (f"{1:016x}{number:016x}" for number in (2, 1))
SESSION = "5e" * 16
TABLE = {
    "P0's stock: seeds, sealed": "p0",
    "P1's stock: seeds and tapes, sealed": "p1",
    "either, made after a deal was spent": "after",
}
SECURITY = Path(__file__).parents[3] / "SECURITY.md"


@dataclass
class Stolen:
    """A copy of both parties' folders; of two deals the first one was spent. seeds, messages: of the other one."""

    folder: Path
    keys: dict[str, StoreKey]
    seeds: dict[str, bytes]
    message: bytes

    def opened(self, role: str, *, key: bool) -> Store:
        """The store as a thief runs it, with the party's key or with one of the thief's own."""
        copy = shutil.copytree(self.folder / role, self.folder / f"{role} at the thief's")
        return Store(copy, self.keys[role] if key else StoreKey(os.urandom(32), outlives=True), 1 << 30)

    def rows(self, role: str) -> list[tuple[object, ...]]:
        """What the ledger says to whoever reads it without any key."""
        columns = "name, shape, state, session, wrapped is null"
        with sqlite3.connect(self.folder / role / FILE_NAME) as db:
            return db.execute(f"select {columns} from deals order by number").fetchall()


@pytest.fixture
def stolen(tmp_path: Path) -> Stolen:
    found = Stolen(tmp_path / "stolen", {}, {}, os.urandom(5000))
    for role in ("p0", "p1"):
        found.keys[role], found.seeds[role] = StoreKey(os.urandom(32), outlives=True), os.urandom(16)
        store = Store(tmp_path / role, found.keys[role], 1 << 30)
        for name, seed in ((SPENT, os.urandom(16)), (UNSPENT, found.seeds[role])):
            room = None if role == "p0" else 1 << 20
            with store.filling(name, BOUND, "1x16 embedding", seed, room) as writer:
                if writer is not None:
                    writer.write(found.message, 0)
        deal = store.spend_oldest(SESSION, BOUND)
        assert deal.name == SPENT
        if deal.tape is not None:
            deal.tape.close()
        shutil.copytree(tmp_path / role, found.folder / role)  # while the party still runs
        store.close()
    return found


def test_the_table_has_these_rows() -> None:
    text = SECURITY.read_text(encoding="utf-8")
    table = text[text.index("| A copy of |") :]
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:5]] == list(TABLE)


@pytest.mark.parametrize("role", ["p0", "p1"])
def test_a_disk_alone_tells_how_many_deals_there_are_and_were(stolen: Stolen, role: str) -> None:
    assert stolen.rows(role) == [
        (SPENT, "1x16 embedding", "spent", SESSION, 1),
        (UNSPENT, "1x16 embedding", "stock", None, 0),
    ]
    folder = stolen.folder / role
    names = {path.name.split(".")[0] for path in folder.iterdir()} - {"ledger", "lock", "CACHEDIR"}
    assert names == ({UNSPENT} if role == "p1" else set())
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    secrets = [stolen.seeds[role], *(stolen.message[at : at + 8] for at in range(0, 4096, 512))]
    assert not any(form in content for secret in secrets for form in (secret, secret.hex().encode()))
    thief = stolen.opened(role, key=False)
    with pytest.raises(NoCorrelations):
        thief.spend_oldest("thief", BOUND)
    assert [tally.why for tally in thief.tallies() if tally.state == "burnt"] == ["the key of the stock is gone"]


@pytest.mark.parametrize("role", ["p0", "p1"])
def test_with_the_key_it_gives_the_seeds_of_unspent_deals_and_at_p1_their_tapes(stolen: Stolen, role: str) -> None:
    deal = stolen.opened(role, key=True).spend_oldest("thief", BOUND)
    assert (deal.name, deal.seeds) == (UNSPENT, stolen.seeds[role])
    assert (deal.tape is None) == (role == "p0")
    if deal.tape is not None:
        assert bytes(deal.tape.receive()) == stolen.message
        deal.tape.close()
    assert stolen.seeds["p1" if role == "p0" else "p0"] != deal.seeds


def test_a_key_opens_nothing_of_the_other_party(stolen: Stolen) -> None:
    stolen.keys = {"p0": stolen.keys["p1"], "p1": stolen.keys["p0"]}
    for role in ("p0", "p1"):
        with pytest.raises(NoCorrelations):
            stolen.opened(role, key=True).spend_oldest("thief", BOUND)


def test_of_both_with_their_keys_a_spent_deal_is_gone_and_an_unspent_one_is_whole(stolen: Stolen) -> None:
    stores = [stolen.opened(role, key=True) for role in ("p0", "p1")]
    for store in stores:
        with pytest.raises(NoCorrelations, match="is spent"):
            store.spend("thief", SPENT, BOUND)
    deals = [store.spend("thief", UNSPENT, BOUND) for store in stores]
    assert [deal.seeds for deal in deals] == [stolen.seeds["p0"], stolen.seeds["p1"]]
    assert deals[1].tape is not None
    deals[1].tape.close()
