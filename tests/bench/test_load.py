"""Many clients' requests: when they are sent, what is counted, and a whole run against parties."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.load import table
from bench.load.command import lines, numbers_of
from bench.load.figures import Prices, Taken, code, figures
from bench.load.measuring import Plan, _compared, measure, measure_busy
from bench.load.sending import Sent, at_times, back_to_back
from bench.load.targets import Target, difference, parties_here
from secure.demo.sample import model_folder
from secure.protocols.core.errors import ConfigurationError, ServerBusy
from tests.bench.new_record import new_record

PRICES = Prices(gigabyte=0.05, core_hour=0.036)
NOTHING = Taken({}, {}, {}, 0, 0)


def test_in_an_open_loop_waiting_for_a_client_counts() -> None:
    """Both are due at once, and the only client is slow: the second one's seconds are those of both."""
    sent = at_times([0.0, 0.0], 1, lambda number: time.sleep(0.05))
    assert sent.latencies[1] >= 0.1 > sent.latencies[0] - 0.05 and sent.failures == {}


def test_in_an_open_loop_everything_is_asked_once_and_at_most_so_many_at_a_time() -> None:
    now, most, asked, lock = [0], [0], [], threading.Lock()

    def ask(number: int) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            asked.append(number)
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    sent = at_times([0.001 * number for number in range(20)], 3, ask)
    assert sorted(asked) == list(range(20)) and most[0] <= 3 and len(sent.answered) == 20


def test_what_stops_a_run_leaves_the_rest_unsent() -> None:
    stop = threading.Event()

    def ask(number: int) -> None:
        if number == 2:
            stop.set()
            raise ValueError

    sent = at_times([0.0] * 50, 1, ask, stop)
    assert isinstance(sent.failures[2], ValueError) and len(sent.answered) == 2
    assert math.isnan(sent.latencies[2]) and len(sent.latencies) == 50


def test_in_a_closed_loop_late_answers_do_not_count_and_errors_do() -> None:
    def ask(number: int) -> None:
        if number == 1:
            raise ServerBusy("full")
        time.sleep(0.3 if number > 3 else 0.01)

    sent = back_to_back(1, 0.4, ask)
    assert sent.latencies[0] >= 0.01 and list(sent.failures) == [1]
    assert math.isnan(sent.latencies[-1]) and sent.seconds > 0.4


def test_figures_have_spread_errors_and_both_costs() -> None:
    taken = Taken({"p0": 30.0, "p1": 30.0}, {"p0 to p1": 4e8}, {"p0": 7}, 10, 30)
    slow, quick = [0.5] * 30, [1.0] * 10
    runs = [(Sent(latencies, {0: ServerBusy("full")}, 9.0), 10.0, taken) for latencies in (slow, quick)]
    found = figures(runs, PRICES)
    assert found["rate"] == {"median": 2.0, "least": 1.0, "most": 3.0} and found["answers"] == 40
    assert found["seconds"]["p95"] == {"all": 1.0, "median": 0.75, "least": 0.5, "most": 1.0}
    assert found["errors"] == {"ServerBusy": 2} and found["rows_a_session"] == 3.0
    assert found["cpu_seconds_an_answer"] == {"p0": 1.5, "p1": 1.5}
    assert found["link_bytes_an_answer"] == {"p0 to p1": 20_000_000}
    assert found["cost_per_1000"] == {"bytes": 1.0, "cpu": 0.03}
    with pytest.raises(ConfigurationError, match="more --seconds"):
        figures([(Sent([0.5], {}, 1.0), 1.0, NOTHING)], PRICES)


def test_an_error_counts_by_the_gateways_code() -> None:
    request = httpx.Request("POST", "http://gateway")
    busy = httpx.Response(429, json={"error": {"code": "rate_limit_exceeded"}})
    bare = httpx.Response(502, text="nothing")
    found = [code(httpx.HTTPStatusError("", request=request, response=answer)) for answer in (busy, bare)]
    assert found == ["rate_limit_exceeded", "status 502"]
    assert code(ConnectionResetError()) == "ConnectionResetError"


@pytest.mark.parametrize(
    ("clients", "rate", "p95", "within"), [(8, 2.0, 0.5, True), (8, 2.0, 0.7, False), (8, 1.8, 0.5, False)]
)
def test_what_is_aimed_at(clients: int, rate: float, p95: float, within: bool) -> None:
    def run(times: float, wait: float) -> dict[str, Any]:
        return {"rate": {"median": times}, "seconds": {"p95": {"all": wait}}}

    found = _compared(clients, {"alone": run(1.0, 1.0), "together": run(rate, p95)})
    assert found == {"times": {"rate": rate, "p95": p95}, "within": within}
    assert "within" not in _compared(5, {"alone": run(1.0, 1.0), "together": run(rate, p95)})


def test_figures_of_a_gateway_are_read_from_its_metrics() -> None:
    text = (
        "# TYPE secure_gateway_link_bytes_total counter\n"
        'secure_gateway_link_bytes_total{sender="p0",receiver="p1"} 1000.0\n'
        "# TYPE secure_gateway_sessions_total counter\n"
        'secure_gateway_sessions_total{result="ok"} 3.0\n'
        'secure_gateway_sessions_total{result="PartyLost"} 1.0\n'
        "# TYPE secure_gateway_rows_total counter\nsecure_gateway_rows_total 9.0\n"
    )
    taken = Target({}, {}, lambda kind: text).taken("together")
    assert (taken.link_bytes, taken.sessions, taken.rows) == ({"p0 to p1": 1000.0}, 4.0, 9.0)
    assert difference(taken, NOTHING).link_bytes == taken.link_bytes and difference(taken, taken).rows == 0


@pytest.mark.parametrize("text", ["", "a", "0,8"])
def test_what_is_no_list_of_clients(text: str) -> None:
    with pytest.raises(ConfigurationError, match="such as 1,8,32"):
        numbers_of(text)


def test_a_record_is_told_in_words_and_in_a_table() -> None:
    target = Target({"alone": lambda number: time.sleep(0.001), "together": lambda number: None}, {}, lambda kind: "")
    said: list[str] = []
    rows = measure(target, Plan([1], 0.2, 2, "both", 100.0, 0.7), PRICES, said.append)
    busy = {"asks": 5, "seconds": {"median": 0.004, "p95": 0.006}, "within": True}
    setting = {"repeats": 2}
    record = new_record(
        "load", through="gateway", model="m", rows=rows, prices=vars(PRICES), setting=setting, busy=busy
    )
    text = table.served([record])
    assert "1 clients get" in text and "4.0 ms" in text and text.count("| open |") == 2
    assert len(said) == 2 and any("busy, said after 4.0 ms" in line for line in lines(record))


@pytest.mark.slow
@pytest.mark.processes
def test_parties_are_loaded_and_a_busy_one_says_so(tmp_path: Path) -> None:
    with parties_here(folder := model_folder(), "loopback", tmp_path) as target:
        (row,) = measure(target, Plan([2], 4.0, 1, "open", 1.0, 0.7), PRICES, lambda line: None)
    found = row["open"]["alone"]
    assert found["answers"] == 4 and found["errors"] == {} and found["rows_a_session"] == 1
    assert {"p0 to p1", "dealer to p1", "client to p1"} <= set(found["link_bytes_an_answer"])
    assert set(found["memory_bytes"]) == {"p0", "p1", "dealer", "clients"}
    (tmp_path / "busy").mkdir()
    busy = measure_busy(folder, tmp_path / "busy", 10)
    assert busy["error"] == "ServerBusy" and busy["retry_after"]
