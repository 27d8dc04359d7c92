"""Live and from stock in turns: one small run of real parties, and what their logs are read for."""

from __future__ import annotations

import math

import pytest
from rich.console import Console

from bench.ahead import restart
from bench.ahead.command import measure
from bench.ahead.stocked import COMPUTED, SPENT, TAKEN_UP
from bench.measure import Setting
from secure.parties.roles.worker import TAKEN_UP as TAKEN_UP_SAID
from secure.parties.stock.from_stock import SPENT as SPENT_SAID


def test_what_parties_say_is_understood() -> None:
    spent = SPENT.search("12:00:01 INFO    " + SPENT_SAID % ("abcdef-7", 0.0021))
    assert spent is not None and (spent["deal"], float(spent["seconds"])) == ("abcdef-7", 0.0021)
    taken_up = TAKEN_UP.search("12:00:01 INFO    " + TAKEN_UP_SAID % ("0123abcd", 1.25))
    assert taken_up is not None and float(taken_up["seconds"]) == 1.25
    computed = COMPUTED.search("12:00:01 INFO    deal abcdef-7: 3.1 MB computed ahead in 0.125 s")
    assert computed is not None and (computed["size"], float(computed["seconds"])) == ("3.1 MB", 0.125)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(900)
def test_live_and_from_stock_in_turns() -> None:
    record = measure(Setting("minilm", 4, 1, "private", 1, 2, phases=False), Console(quiet=True))
    assert {kind: len(seconds) for kind, seconds in record["seconds"].items()} == {"live": 2, "stock": 2}
    assert set(record["processor_seconds"]["stock"]) == {"p0", "p1"}
    assert max(record["max_error"].values()) < 1e-2
    for role in ("p0", "p1"):
        assert len(record["own_work_seconds"][role]) == 3 and len(record["spend_seconds"][role]) == 2
    assert math.isclose(record["stock_of_live"], record["median_seconds"]["stock"] / record["median_seconds"]["live"])


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(900)
def test_killed_parties_answer_from_stock_again() -> None:
    record = restart.measure(Setting("minilm", 4, 1, "private", 1, 1, phases=False), Console(quiet=True))
    assert [found["role"] for found in record["restarts"]] == ["p0", "p1"]
    assert set(record["sealed_bytes"]) == {"p0", "p1", "dealer"}
    for found in record["restarts"]:
        assert 0 < found["reading_seconds"] < found["serving_seconds"] < found["answered_seconds"]
        assert 0 < found["serving_processor_seconds"] <= found["answered_processor_seconds"]
