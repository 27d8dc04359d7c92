"""Reports: put together from roles, added up, shown, and written as JSON and read back."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from typing import Any

import pytest

from secure.models.storage.capacity import human_bytes
from secure.parties.client.conversation import Costs, RoleReport
from secure.parties.roles.engine import MadeAhead
from secure.protocols.core.errors import InputError
from secure.report.report import SCHEMA, Report
from secure.report.report_parts import Offline


def row(layer: str, op: str, **changes: Any) -> dict[str, Any]:
    base = {"layer": layer, "op": op, "calls": 2, "rounds": 3, "online_bytes": 100, "dealer_bytes": 0, "seconds": 0.5}
    return base | changes


def costs(seconds: float = 1.5, peak: int = 1000) -> Costs:
    party = [row("layer.0", "product"), row("layer.0", "open", rounds=1), row("pooling", "product", seconds=0.25)]
    other = [row("layer.0", "product", seconds=0.75), *party[1:]]
    nothing: dict[str, Any] = {"rounds": 0, "online_bytes": 0}
    dealt = [
        row("layer.0", "product", dealer_bytes=70, **nothing),
        row("layer.0", "open", **nothing),
        row("pooling", "product", dealer_bytes=30, **nothing),
    ]
    reports = {
        "p0": RoleReport("p0", party, {"p1": 300, "client": 8}, {"client": 16, "p1": 300}, {"p1": 7}, 1.0, peak),
        "p1": RoleReport("p1", other, {"p0": 300, "client": 8}, {"client": 64, "p0": 300}, {"p0": 7}, 1.1, 2000),
        "dealer": RoleReport("dealer", dealt, {"p0": 16, "p1": 116}, {"p0": 0}, {"p1": 3}, 0.9, 500),
    }
    return Costs(reports, seconds, profile="far")


@pytest.fixture
def report() -> Report:
    return Report.of_session(costs(), load_seconds=4.0, sequences=2, tokens=12)


def test_totals(report: Report) -> None:
    assert report.rounds == 7
    assert report.online_bytes == 600
    assert report.dealer_bytes == 132
    assert report.input_bytes == 80
    assert report.output_bytes == 16
    assert sum(row.online_bytes for row in report.rows) == report.online_bytes
    assert sum(row.dealer_bytes for row in report.rows) == report.dealer_bytes - 2 * 16


def test_rows_are_of_all_roles(report: Report) -> None:
    first = report.rows[0]
    assert (first.layer, first.op, first.calls, first.rounds) == ("layer.0", "product", 2, 3)
    assert (first.online_bytes, first.dealer_bytes) == (200, 70)
    assert (first.seconds, first.dealer_seconds) == (0.75, 0.5)


def test_by_layer_and_by_op(report: Report) -> None:
    assert [(row.layer, row.rounds, row.online_bytes) for row in report.by_layer()] == [
        ("layer.0", 4, 400),
        ("pooling", 3, 200),
    ]
    assert [(row.op, row.calls, row.dealer_bytes) for row in report.by_op()] == [("product", 4, 100), ("open", 2, 0)]


def test_a_notebook_shows_the_tables(report: Report) -> None:
    shown = report._repr_html_()
    assert shown.startswith("<pre") and shown.endswith("</pre>")
    assert html.unescape(shown).partition(">")[2].removesuffix("</pre>") == report.to_text()


def test_sessions_add_up() -> None:
    parts = [
        Report.of_session(costs(seconds, peak), load_seconds=4.0, sequences=2, tokens=12)
        for seconds, peak in ((1.0, 10), (2.0, 30), (3.0, 20))
    ]
    total = Report.total(parts)
    assert total.seconds == 6.0
    assert total.load_seconds == 4.0
    assert (total.sessions, total.sequences, total.tokens) == (3, 6, 36)
    assert (total.rounds, total.online_bytes, total.dealer_bytes) == (21, 1800, 396)
    assert total.roles["p0"].memory_bytes == 30
    assert total.roles["p1"].messages_sent == {"p0": 21}
    assert Report.total(parts[:1]) == parts[0]


def made(*, from_stock: bool) -> Report:
    """A session of two parties that made their correlations themselves."""
    reports = {}
    for role, other, sent in (("p0", "p1", 5000), ("p1", "p0", 700)):
        inside, back = (0, 0) if from_stock else (sent, 5700 - sent)
        ahead = MadeAhead(from_stock, seconds=0.5, rounds=9, sent_bytes=sent, kept_bytes=10 * sent)
        rows, of_client = [row("layer.0", "garbled")], {"client": 8}
        sides = {other: 300 + inside, **of_client}, {other: 300 + back, **of_client}
        reports[role] = RoleReport(role, rows, *sides, {other: 7}, 1.0, 1000, made_ahead=ahead)
    return Report.of_session(Costs(reports, 2.0), load_seconds=4.0, sequences=1, tokens=1)


def test_what_parties_made_stands_beside_what_came_after() -> None:
    stocked, live = made(from_stock=True), made(from_stock=False)
    for found in (stocked, live):
        assert found.online_bytes == 600 and found.roles["p1"].bytes_received["p0"] == 300
        assert found.offline is not None and found.offline.sent_bytes == {"p0": 5000, "p1": 700}
        assert Report.from_json(found.to_json()) == found
    assert (stocked.deal, live.deal) == ("stock", "demand")
    total = Report.total([stocked, live, live])
    assert total.offline == Offline(1, 2, 1.5, 1.0, 27, {"p0": 15000, "p1": 2100}, {"p0": 50_000, "p1": 7000})
    assert total.deal == "demand" and "1 taken from stock, 2 made on demand, in this call: 1.500 s" in total.to_text()
    assert "Dealer bytes" not in total.to_text()


@pytest.mark.parametrize(
    ("protocol", "roles", "deal", "security"),
    [
        ("witnessed", ("p0", "p1", "p2", "dealer"), "live", "malicious"),
        ("witnessed", ("p0", "p1", "p2"), "stock", "malicious"),
        ("witnessed-two-dealers", ("p0", "p1", "p2", "dealer", "dealer2"), "live", "malicious"),
        ("replicated", ("p0", "p1", "p2"), "none", "semi-honest"),
        ("beaver", ("p0", "p1"), "stock", "semi-honest"),
    ],
)
def test_where_correlations_come_from_and_against_whom(
    protocol: str, roles: tuple[str, ...], deal: str, security: str
) -> None:
    """Three evaluators with a deal from stock are not three parties that help each other."""
    dealing = {"rounds": 0, "online_bytes": 0, "dealer_bytes": 70}
    reports = {
        role: RoleReport(
            role,
            [row("a", "product", **(dealing if role.startswith("dealer") else {}))],
            {"client": 8},
            {},
            {},
            1.0,
            10,
        )
        for role in roles
    }
    found = Report.of_session(Costs(reports, 1.0, protocol=protocol), load_seconds=0.0, sequences=1, tokens=1)
    assert (found.deal, found.security, found.protocol) == (deal, security, protocol)
    assert Report.from_json(found.to_json()) == found
    assert sum(row.dealer_bytes for row in found.rows) == 70 * sum(role.startswith("dealer") for role in roles)
    if security == "malicious":
        assert found.rows[0].rounds == 3 and found.rows[0].online_bytes == 300
    assert Report.total([found, found]).deal == deal


def test_json_round_trip(report: Report) -> None:
    text = report.to_json()
    assert Report.from_json(text) == report
    with_other = replace(report, protocol="hybrid", profile="near")
    assert Report.from_json(with_other.to_json()) == with_other != report
    value = json.loads(text)
    assert value["schema"] == SCHEMA
    assert value["totals"] == {
        "rounds": 7,
        "online_bytes": 600,
        "dealer_bytes": 132,
        "input_bytes": 80,
        "output_bytes": 16,
    }


def test_what_is_not_checked_is_said(report: Report) -> None:
    words = "not checked: the client is trusted"
    trusting = replace(report, unchecked_one_hot=True)
    assert words in trusting.to_text() and words not in report.to_text()
    assert Report.from_json(trusting.to_json()) == trusting


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"report"', '{"schema": 3}', '{"schema": 3, "rows": [{}]}'])
def test_json_that_is_no_report(text: str) -> None:
    with pytest.raises(InputError, match="not a report"):
        Report.from_json(text)


def test_json_of_another_schema(report: Report) -> None:
    value = json.loads(report.to_json()) | {"schema": 99}
    with pytest.raises(InputError, match="schema 99, this version reads 3"):
        Report.from_json(json.dumps(value))


def test_text_says_what_is_included(report: Report) -> None:
    text = str(report)
    for part in (
        "600 B",
        "132 B",
        "4.000 for loading",
        "By layer",
        "By op",
        "that computing parties send each other",
        "sent by the dealer",
    ):
        assert part in text
    assert "By layer and op" not in text
    assert "By layer and op" in report.to_text(every_row=True)
    assert "\x1b" not in text
    assert max(map(len, report.to_text(width=80).splitlines())) <= 80
    assert "…" not in report.to_text(width=80)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (34_967_082, "35.0 MB"),
        (2_500_000_000, "2.50 GB"),
        (10**15, "1000 TB"),
    ],
)
def test_human_bytes(count: int, text: str) -> None:
    assert human_bytes(count) == text
