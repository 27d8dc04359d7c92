"""A party's store by itself: killed anywhere, changed anywhere, rolled back, full; no deal is ever used twice."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure.parties.stock import ledger
from secure.parties.stock.binding import Binding, short_name
from secure.parties.stock.key import StoreKey
from secure.parties.stock.ledger import Ledger
from secure.parties.stock.store import Store
from secure.parties.stock.tape import TapeReader, TapeWriter
from secure.protocols.core.errors import ConfigurationError, CorrelationsDamaged, NoCorrelations, StockFull

KEY = StoreKey(bytes(range(32)), outlives=True)
BOUND = Binding("beaver", 6, "model", "policy", "load", "request", "near", 1 << 20)
RUN = bytes(8).hex()
MOST = 1 << 30


def name_of(number: int, run: str = RUN) -> str:
    return f"{run}{number:016x}"


def fill(store: Store, name: str, *, messages: int = 3, tape: bool = True, binding: Binding = BOUND) -> str:
    with (
        store.room_for(0 if tape else None) as room,
        store.filling(name, binding, "1x16", os.urandom(16), room) as writer,
    ):
        for step in range(messages if writer is not None else 0):
            assert writer is not None
            writer.write(os.urandom(2000), step)
    return name


def opened(folder: Path, key: StoreKey = KEY, most: int = MOST) -> Store:
    return Store(folder, key, most)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return opened(tmp_path / "p1")


def test_a_deal_is_spent_once_and_its_tape_is_gone(store: Store, tmp_path: Path) -> None:
    name = fill(store, name_of(1))
    deal = store.spend_oldest("session", BOUND)
    assert deal.name == name
    assert len(deal.seeds) == 16
    assert deal.tape is not None
    assert [len(deal.tape.receive()) for _ in range(3)] == [2000] * 3
    with pytest.raises(CorrelationsDamaged, match="ends before the session does"):
        deal.tape.receive()
    assert list((tmp_path / "p1").glob("*.tape")) == []
    for spend in (lambda: store.spend_oldest("another", BOUND), lambda: store.spend("another", name, BOUND)):
        with pytest.raises(NoCorrelations):
            spend()
    assert [(tally.state, tally.count) for tally in store.tallies()] == [("spent", 1)]


def test_a_spending_is_one_write_over_what_the_log_has_already(store: Store, tmp_path: Path) -> None:
    """Each commit is on the disk when it returns, and takes one write there: the file that it goes to does not grow."""
    kept, log = store._ledger, tmp_path / "p1" / "ledger.sqlite-wal"
    assert kept._read("pragma journal_mode") == [("wal",)]
    assert kept._read("pragma synchronous") == [(2,)]  # full: the log is synced at each commit
    before = log.stat().st_size
    assert before > 1 << 20
    for number in range(1, 100):
        fill(store, name_of(number), messages=1)
        store.spend_oldest(f"session {number}", BOUND)
    assert log.stat().st_size == before


def test_how_old_the_stock_is_and_how_long_it_lasts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000 * 86_400
    clock = SimpleNamespace(time=lambda: now)
    monkeypatch.setattr(ledger, "time", clock)
    for number in range(1, 11):
        fill(store, name_of(number), messages=1)
    (tally,) = store.tallies()
    assert (tally.oldest_seconds, tally.days) == (0, None)
    for session, days in (("a", 1), ("b", 0), ("c", 0), ("d", 1)):
        now += days * 86_400
        store.spend_oldest(session, BOUND)
    in_stock, spent = store.tallies()
    assert (in_stock.count, in_stock.oldest_seconds, in_stock.days) == (6, 2 * 86_400, 2.0)  # three were used yesterday
    assert (spent.count, spent.oldest_seconds, spent.days) == (4, None, None)
    now += 2 * 86_400
    assert store.tallies()[0].days is None


def test_one_session_takes_one_deal(store: Store) -> None:
    fill(store, name_of(1))
    fill(store, name_of(2))
    store.spend_oldest("session", BOUND)
    with pytest.raises(NoCorrelations, match="spent a deal already"):
        store.spend_oldest("session", BOUND)
    assert len(store.names()) == 1


@pytest.mark.parametrize("field", list(Binding.__dataclass_fields__))
def test_a_deal_serves_only_what_it_was_made_for(store: Store, field: str) -> None:
    name = fill(store, name_of(1))
    other = replace(BOUND, **{field: {"version": 7, "round_bytes": 1}.get(field, "other")})
    with pytest.raises(NoCorrelations, match="nothing is in stock for this request; there are 1 of 1x16"):
        store.spend_oldest("session", other)
    with pytest.raises(NoCorrelations, match=f"made for another {field.replace('_', ' ')}; it is burnt"):
        store.spend("session", name, other)
    assert store.names() == []
    assert field.replace("_", " ") in store.tallies()[0].why


def test_a_name_is_refused_for_ever(store: Store) -> None:
    fill(store, name_of(7))
    for number in (7, 3):
        with pytest.raises(NoCorrelations, match="offered before"):
            fill(store, name_of(number))
    fill(store, name_of(3, "ab" * 8))
    assert len(store.names()) == 2


def test_another_load_of_the_model_burns(store: Store) -> None:
    fill(store, name_of(1))
    fill(store, name_of(2), binding=replace(BOUND, load_id="newer"))
    fill(store, name_of(3), binding=replace(BOUND, model_digest="another"))
    assert store.burn_other_loads("model", "newer") == 1
    assert store.names() == [name_of(2), name_of(3)]


def test_the_store_is_locked_and_private(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="another process uses the stock"):
        opened(tmp_path / "p1")
    fill(store, name_of(1))
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "p1").iterdir()}
    assert modes.pop("CACHEDIR.TAG")
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "p1").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("change", ["flip", "cut", "cut at a segment", "swap segments", "other tape", "empty", "gone"])
def test_a_changed_tape_is_refused_and_stays_spent(store: Store, tmp_path: Path, change: str) -> None:
    one, two = fill(store, name_of(1)), fill(store, name_of(2))
    path = tmp_path / "p1" / f"{one}.tape"
    data, magic, segment = path.read_bytes(), 24, 7 + 2016
    first, second = data[magic : magic + segment], data[magic + segment : magic + 2 * segment]
    path.write_bytes(
        {
            "flip": data[:700] + bytes([data[700] ^ 1]) + data[701:],
            "cut": data[:-10],
            "cut at a segment": data[: magic + 2 * segment],
            "swap segments": data[:magic] + second + first + data[magic + 2 * segment :],
            "other tape": (tmp_path / "p1" / f"{two}.tape").read_bytes(),
        }.get(change, b"")
    )
    if change == "gone":
        path.unlink()
    with pytest.raises(CorrelationsDamaged) as raised:
        deal = store.spend("a", one, BOUND)
        assert deal.tape is not None
        for _ in range(4):
            deal.tape.receive()
    assert short_name(one) in str(raised.value)
    with pytest.raises(NoCorrelations, match="is spent"):
        store.spend("b", one, BOUND)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_tape_gives_what_was_written_or_nothing(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes are changed, cut, doubled or put elsewhere: what is read before the error is the beginning of the tape."""
    name, key, path = name_of(1), bytes(range(32)), tmp_path / "one.tape"
    path.unlink(missing_ok=True)
    writer = TapeWriter(path, name, key, MOST)
    written = [bytes([step]) * length for step, length in enumerate((0, 1, 700, 3000))]
    for step, message in enumerate(written):
        writer.write(message, step)
    writer.close()
    whole = path.read_bytes()
    start, end = sorted(data.draw(st.integers(0, len(whole))) for _ in range(2))
    part, place = whole[start:end], data.draw(st.integers(0, len(whole)))
    content = {
        "cut": whole[:start] + whole[end:],
        "doubled": whole[:end] + part + whole[end:],
        "elsewhere": whole[:place] + part + whole[place + len(part) :],
        "changed": whole[:start] + data.draw(st.binary(max_size=20)) + whole[start:],
    }[data.draw(st.sampled_from(("cut", "doubled", "elsewhere", "changed")))]
    path.write_bytes(content)
    found: list[bytes] = []
    try:
        reader = TapeReader(path, name, key, stays=True)
        for _ in range(len(written)):
            found.append(bytes(reader.receive()))
    except CorrelationsDamaged:
        assert content != whole
    assert found == written[: len(found)]


def test_verify_burns_what_is_damaged_and_nothing_else(store: Store, tmp_path: Path) -> None:
    one, two, three = (fill(store, name_of(number)) for number in (1, 2, 3))
    path = tmp_path / "p1" / f"{two}.tape"
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "p1" / f"{three}.tape").unlink()
    assert [line.split(":")[0] for line in store.verify()] == [short_name(two), short_name(three)]
    assert store.names() == [one]
    assert store.verify() == []


def test_what_does_not_fit_is_refused_before_it_is_written(tmp_path: Path) -> None:
    store = opened(tmp_path, most=10_000)
    with pytest.raises(StockFull, match="no room"), store.room_for(20_000):
        raise AssertionError("there is no room")
    with store.room_for(9_000), pytest.raises(StockFull, match="no room"), store.room_for(2_000):
        raise AssertionError("that room is promised")
    with pytest.raises(StockFull, match="more than the 10000 bytes"):
        fill(store, name_of(2), messages=6)
    assert list(tmp_path.glob("*.tape")) == []
    fill(store, name_of(3), messages=4)
    assert [tally.state for tally in store.tallies()] == ["stock", "burnt"]


def test_a_full_disk_is_named_and_nothing_of_the_deal_is_left(tmp_path: Path) -> None:
    """A limit on the size of files refuses writes as a full disk does, of the tape and then of the ledger."""

    def in_a_process_with_limits() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = opened(tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        with pytest.raises(StockFull, match="cannot be written to the stock: the disk is full"):
            fill(store, name_of(1), messages=200)
        assert [tally.state for tally in store.tallies()] == ["burnt"]
        assert list(tmp_path.glob("*.tape")) == []
        fill(store, name_of(2), messages=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, 200_000))
        with pytest.raises(StockFull, match="the ledger of the stock cannot be written"):
            store.spend("session", name_of(2), BOUND)

    assert in_child(in_a_process_with_limits) == 0
    # The commit failed, so the deal was not handed out, and is in stock still.
    assert opened(tmp_path).names() == [name_of(2)]


def test_another_key_burns_everything_at_the_start(store: Store, tmp_path: Path) -> None:
    fill(store, name_of(1))
    store.close()
    store = opened(tmp_path / "p1", StoreKey(bytes(32), outlives=False))
    assert store.names() == []
    assert list((tmp_path / "p1").glob("*.tape")) == []
    assert store.tallies()[0].why == "the key of the stock is gone"


@pytest.mark.parametrize("doubt", ["tape gone", "tape cut", "tape without a row"])
def test_a_restart_burns_what_does_not_fit_together(store: Store, tmp_path: Path, doubt: str) -> None:
    one, two = fill(store, name_of(1)), fill(store, name_of(2), tape=False)
    store.close()
    path = tmp_path / "p1" / f"{one}.tape"
    if doubt == "tape gone":
        path.unlink()
    elif doubt == "tape cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.with_name(f"{name_of(9)}.tape").write_bytes(b"from elsewhere")
    store = opened(tmp_path / "p1")
    assert store.names() == ([one, two] if doubt == "tape without a row" else [two])
    assert {tape.stem for tape in (tmp_path / "p1").glob("*.tape")} == set(store.names()) - {two}


def test_reconciling_burns_what_one_party_lacks(tmp_path: Path) -> None:
    p0, p1 = opened(tmp_path / "p0"), opened(tmp_path / "p1")
    names = [fill(p1, name_of(number)) for number in range(1, 4)]
    for name in names[1:]:
        fill(p0, name, tape=False)
    only_p0 = fill(p0, name_of(4), tape=False)
    mine, theirs = p0.names(), p1.settled()
    with p1.unsettled(name_of(5)):
        coming = fill(p1, name_of(5))
        assert p1.settled() == names
    assert p0.burn_missing(mine, p1.names()) == 1
    assert p1.burn_missing(theirs, mine) == 1
    assert p0.names() == names[1:]
    assert p1.names() == [*names[1:], coming]
    assert only_p0 not in p0.names()


def test_one_party_that_is_rolled_back_is_refused_by_the_other(tmp_path: Path) -> None:
    p0, p1 = opened(tmp_path / "p0"), opened(tmp_path / "p1")
    name = fill(p1, name_of(1))
    fill(p0, name, tape=False)
    p0.close()
    shutil.copytree(tmp_path / "p0", tmp_path / "copy")
    p0 = opened(tmp_path / "p0")
    assert p0.spend_oldest("one", BOUND).name == name
    p1.spend("one", name, BOUND)
    rolled_back = opened(tmp_path / "copy")
    assert rolled_back.spend_oldest("two", BOUND).name == name
    with pytest.raises(NoCorrelations, match="is spent"):
        p1.spend("two", name, BOUND)


def test_a_thief_of_the_disk_finds_no_seed_and_no_tape_in_the_clear(tmp_path: Path) -> None:
    seed, message, store = os.urandom(16), os.urandom(5000), opened(tmp_path / "p1")
    with store.filling(name_of(1), BOUND, "1x16", seed, MOST) as writer:
        assert writer is not None
        writer.write(message, 0)
    stolen = b"".join(path.read_bytes() for path in (tmp_path / "p1").iterdir())
    assert len(stolen) > len(message)
    for secret in (seed, KEY.secret, KEY.derived("stock"), *(message[at : at + 8] for at in range(0, 4992, 64))):
        for form in (secret, secret.hex().encode()):
            assert form not in stolen
    copy = shutil.copytree(tmp_path / "p1", tmp_path / "stolen")
    # With the key, the copy of an unspent store is the store: that is what the key is kept elsewhere for.
    assert opened(copy).spend_oldest("thief", BOUND).seeds == seed
    deal = store.spend_oldest("session", BOUND)
    assert deal.tape is not None
    deal.tape.close()
    store.close()
    # A copy made after the deal was spent opens nothing, with the key or without it.
    late = opened(shutil.copytree(tmp_path / "p1", tmp_path / "late"))
    with pytest.raises(NoCorrelations):
        late.spend_oldest("thief", BOUND)
    assert list((tmp_path / "late").glob("*.tape")) == []


def in_child(work: Callable[[], None], seconds: float | None = None) -> int:
    """Run in a process of its own, killed after some seconds; its exit code, negative for a signal."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    killing = threading.Timer(seconds or 60.0, os.kill, (child, signal.SIGKILL))
    killing.start()
    _, status = os.waitpid(child, 0)
    killing.cancel()
    return os.waitstatus_to_exitcode(status)


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives that")


def spend_all(folder: Path, log: Path, die_at: str = "") -> None:
    """Spend all that is in stock, and 'send' a first byte under each. die_at: where this process ends."""
    store = opened(folder)
    while store.names():
        session = os.urandom(8).hex()
        if die_at == "before the spending":
            die()
        deal = store.spend_oldest(session, BOUND)
        if die_at == "after the spending":
            die()
        assert deal.tape is not None
        for _ in range(3):
            deal.tape.receive()
        with log.open("a") as file:
            file.write(json.dumps([deal.name, session]) + "\n")
        if die_at == "after the first byte":
            die()


def sent(log: Path) -> list[tuple[str, str]]:
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.parametrize("where", ["before the spending", "after the spending", "after the first byte"])
def test_killed_at_a_point_of_spending(tmp_path: Path, where: str) -> None:
    store = opened(tmp_path / "p1")
    fill(store, name_of(1))
    store.close()
    assert in_child(lambda: spend_all(tmp_path / "p1", tmp_path / "log", where)) == -signal.SIGKILL
    left = opened(tmp_path / "p1").names()
    assert len(left) == (where == "before the spending")
    assert len(sent(tmp_path / "log")) == (where == "after the first byte")


@pytest.mark.parametrize("where", ["begun", "written", "on the disk", "in stock"])
def test_killed_at_a_point_of_filling(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_and_die() -> None:
        step = {"begun": (TapeWriter, "__init__"), "written": (TapeWriter, "close"), "on the disk": (Ledger, "stocked")}
        if where in step:
            monkeypatch.setattr(*step[where], lambda *_: die())
        fill(opened(tmp_path / "p1"), name_of(1))
        die()

    assert in_child(fill_and_die) == -signal.SIGKILL
    store = opened(tmp_path / "p1")
    assert len(store.names()) == (where == "in stock")
    assert {path.stem for path in (tmp_path / "p1").glob("*.tape")} == set(store.names())


def test_killed_at_random_instants(tmp_path: Path) -> None:
    """A kill costs one deal at the most, and none is used twice."""
    store = opened(tmp_path / "p1")
    names = [fill(store, name_of(number)) for number in range(1, 401)]
    store.close()
    moments, kills, log = random.Random(1), 0, tmp_path / "log"
    while kills < 10 and in_child(lambda: spend_all(tmp_path / "p1", log), moments.uniform(0.01, 0.2)):
        kills += 1
    deals = [deal for deal, _ in sent(log)]
    assert len(set(deals)) == len(deals) == len({session for _, session in sent(log)})
    assert kills > 1
    assert len(names) - len(deals) - len(opened(tmp_path / "p1").names()) <= kills
