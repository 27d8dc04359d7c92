"""Tables and plots from records: every figure arrives, and nothing else is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import plots, report, results, tables
from tests.bench.inference_records import constants_record, load_record, simulated_record
from tests.bench.records import (
    ahead_record,
    card_record,
    every_record,
    gates_record,
    generation_record,
    gpu_record,
    kills_record,
    link_record,
    model_record,
    peers_record,
    restart_record,
    scale_record,
)


def rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table, without its headings. Every row must have as many as they do."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(cells) for cells in found}) == 1
    assert all(set(cell) <= {"-"} for cell in found[1])
    return found[2:]


def test_a_model_has_one_row_with_its_figures() -> None:
    (row,) = rows(tables.models([model_record()]))
    assert row[:6] == ["minilm", "private", "3 × 16", "1.25 s", "0.55 s", "0.66 s"]
    assert row[6:12] == ["2.5 s", "1,234", "10.0", "5.0", "2.34 GB", "6.7e-04"]
    assert row[12] == "`python -m bench model …`"


def test_results_from_before_phases_and_networks_are_still_shown() -> None:
    record = model_record()
    del record["phases"], record["network"]
    (row,) = rows(tables.models([record]))
    assert row[3:6] == ["1.25 s", "", ""]


def test_a_card_has_a_table_of_its_own_with_the_cpu_beside() -> None:
    records = [model_record(), card_record()]
    assert len(rows(tables.models(records))) == 1
    (row,) = rows(tables.cards(records))
    assert row[3:6] == ["Example GPU", "0.50 s", "1.25 s"]
    assert row[12] == "Example CPU, 2 cores, 8.0 GiB"
    assert tables.cards([model_record()]) == ""


def test_slow_networks_have_a_table_of_their_own_with_their_label() -> None:
    records = [model_record(), model_record("wan", median_seconds=9.75)]
    assert len(rows(tables.models(records))) == 1
    text = tables.networks(records)
    assert "bandwidth: by a tap; delay: by waiting" in text
    (row,) = rows(text)
    assert row[3:5] == ["wan: 200 Mbps, 40 ms round trip", "9.75 s"]


def test_a_peer_that_failed_keeps_its_row_with_the_reason() -> None:
    text = tables.peers([peers_record()])
    ours, other, failed = rows(text)
    assert ours == ["ours", "0.65 s", "", "200.0", "90.0", "88", "1.3e-02", "3.00 GB"]
    assert other[:3] == ["spu-memory", "6.50 s", "10.0×"]
    assert failed[:2] == ["crypten", "failed: could not be installed / offline"]
    assert "spu-memory: counts what it does; leaves out what it does not" in text


def test_a_decoder_is_shown_by_token() -> None:
    (row,) = rows(tables.generations([generation_record()]))
    assert row[:6] == ["gpt2", "private", "logits", "1 × 32 + 8", "2.50 s", "0.75 s"]
    assert row[6:12] == ["612", "20.00", "15.00", "2.5 %", "2.34 GB", "2.1e-03"]
    only_tokens = generation_record()
    del only_tokens["max_error"]
    (row,) = rows(tables.generations([only_tokens]))
    assert row[11] == "100 % equal"


def test_a_gpu_record_is_shown_as_it_stands() -> None:
    text = tables.gpus([gpu_record()])
    assert "Example GPU" in text
    assert rows(text) == [
        ["bit-equal", "True"],
        ["ring product, milliseconds", "1.235"],
        ["ring product, size", "4096"],
    ]


def test_growth_is_against_the_first_point() -> None:
    first, _, last = rows(tables.growth(scale_record()))
    assert first[7:] == ["1.00"] * 4
    assert last[:2] == ["64", "32.00 s"]
    assert last[7:] == ["4.00", "4.00", "16.00", "4.00"]


def test_costs_by_op_begin_with_the_slowest() -> None:
    slowest, second = rows(tables.by_op(model_record()))
    assert slowest == ["product", "0.500", "0.250", "2", "3.00", "5.00"]
    assert second[0] == "open"
    of_layer = tables.by_op(model_record(kind="layer", layer="layer.0"))
    assert "In a model of all its layers one takes 0.456 s, 0.123 s with the dealer's work done before" in of_layer


def test_gates_are_per_element() -> None:
    assert rows(tables.gates(gates_record())) == [["Open 64", "1,024", "0.7654", "0.1000", "1", "16.00", "0.00"]]


def test_the_headline_has_whole_models_with_private_weights_and_their_setting() -> None:
    public = model_record()
    public["setting"] = public["setting"] | {"weights": "public"}
    text = tables.headline([model_record(), model_record("wan"), card_record(), public], [generation_record()])
    plain, token = rows(text)
    assert plain == ["minilm, 3 × 16 tokens", "two and a dealer", "1.25 s", "10.0", "5.0", "`python -m bench model …`"]
    assert token[:5] == ["gpt2, each new token after 32", "two and a dealer", "0.75 s", "20.0", "15.0"]
    assert "semi-honest" in text and "loopback" in text and "Example CPU, 2 cores" in text
    assert tables.headline([public], []) == ""


def test_renewing_replaces_what_stands_between_the_markers_and_nothing_else(tmp_path: Path) -> None:
    pages = report.Pages(tmp_path)
    pages.readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    said = report.renew([*every_record(), {"kind": "weather", "command": "look outside"}], pages)
    assert said[0] == "left out: look outside is of the unknown kind 'weather'"
    readme = pages.readme.read_text(encoding="utf-8")
    assert readme.startswith(f"before\n{report.BEGIN}\n") and readme.endswith(f"\n{report.END}\nafter\n")
    assert "old" not in readme
    assert "minilm, 3 × 16 tokens" in readme
    measured = pages.measured.read_text(encoding="utf-8")
    assert all(words in measured for words in ("Example CPU", "wan: 200 Mbps", "spu-memory", "Example GPU"))
    assert "![peers](../bench/plots/peers.svg)" in measured
    detailed = pages.details.read_text(encoding="utf-8")
    assert all(words in detailed for words in ("## Growth with tokens", "## Gates", "## Layer", "PUMA's"))
    report.renew(every_record(), pages)
    assert [page.read_text(encoding="utf-8") for page in pages.texts] == [readme, measured, detailed]


def test_nothing_measured_gives_no_empty_tables(tmp_path: Path) -> None:
    assert "|" not in report.headline([]) + report.measured([])
    assert plots.draw([], tmp_path) == []


def test_stocks_restarts_and_kills_have_their_sections() -> None:
    text = report.measured([ahead_record(), restart_record(), kills_record()])
    stock, restarts, kills = (text.index(f"## {title}") for title in ("From stock", "Started again", "Killed parties"))
    assert stock < restarts < kills
    assert "| 0.750 s | 0.500 s | 0.67 | p0 0.38, dealer 0.25 s | p0 0.12, p1 0.25 s | 0.38 s, 23.5 MB |" in text
    assert "| p0 1,500, p1 1,500 MB | 1.25 s | 3.25 s | 4.75 s | 5.25 s | 1.50 s |" in text
    found = dict(rows(text[kills : text.index("## Machine")]))
    assert (found["kills"], found["deals used twice"], found["deals lost"]) == ("10", "0", "299 of 1,337")
    assert (found["of p0, a random instant"], found["of p0, a named step"], found["of p1, a named step"]) == (
        "3",
        "3",
        "4",
    )


def test_requests_under_load_have_their_section() -> None:
    text = report.measured([constants_record(), load_record(), simulated_record()])
    assert "## Requests that arrive" in text
    assert "| 1.500 s | p0 0.50, p1 0.75, client 0.12 s | p0 3.50, p1 1.25 MB | p0 0.00, p1 4.25 MB | 0.500 s |" in text
    assert "| 1.000 s | 1.125 s (+12%) | 2.000 s | 2.000 s (-6%) | 75%, 75% | yes |" in text
    assert "| 1.000 s | 1.250 s (+25%) | 2.000 s | 2.000 s (+0%) | 75%, 75% | **no** |" in text
    engine = "| an engine (published) | 1,234, 76.5 s | client 8, server 40 GB | client 16 GB | 2 | 0.0005/s |"
    assert f"{engine} 91.5 ± 0.25 / 274; 88% | queue grows |" in text
    assert "waits for the next making" in text and "both" in text


def test_rounds_by_themselves_are_in_the_details() -> None:
    assert "| 4,096 B | 222 | 201 | 112 | 41 | 109 | 39 |" in report.detailed([link_record()])


def test_plots_are_images_that_show_the_records(tmp_path: Path) -> None:
    left_over = tmp_path / "scale-of-old.svg"
    left_over.write_text("<svg/>")
    paths = plots.draw(every_record(), tmp_path)
    names = ["peers", "by-op", "scale-tokens-minilm-private", "inference-latency", "inference-storage"]
    assert [path.stem for path in paths] == names
    assert not left_over.exists()
    for path in paths:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    peers, by_op, scale, latency, storage = (path.read_text(encoding="utf-8") for path in paths)
    assert "spu-memory" in peers and "failed: crypten" in peers
    assert "product" in by_op and "dealer, MB" in by_op
    assert "plaintext, seconds" in scale
    assert "an engine" in latency and "a network: an engine" in storage


def test_the_same_records_give_the_same_plots(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in plots.draw(every_record(), tmp_path / "first")]
    assert first == [path.read_bytes() for path in plots.draw(every_record(), tmp_path / "second")]


def test_committed_tables_and_plots_are_those_of_the_committed_results(tmp_path: Path) -> None:
    records = results.load_all()
    assert all({"kind", "command", "commit", "machine", "versions"} <= set(record) for record in records)
    written, committed = report.Pages(tmp_path), report.PAGES
    written.readme.write_bytes(committed.readme.read_bytes())
    report.renew(records, written)
    advice = "run `python -m bench report`"
    for fresh, old in zip(written.texts, committed.texts, strict=True):
        assert fresh.read_text(encoding="utf-8") == old.read_text(encoding="utf-8"), advice
    assert sorted(path.name for path in written.plots.iterdir()) == sorted(
        path.name for path in committed.plots.iterdir()
    ), advice


@pytest.mark.parametrize("record", results.load_all(), ids=lambda record: record["command"])
def test_a_committed_result_names_the_commit_that_it_was_measured_at(record: dict[str, Any]) -> None:
    assert re.fullmatch("[0-9a-f]{40}(\\+changes)?", record["commit"])


@pytest.mark.parametrize(
    "kind",
    [
        "model",
        "generation",
        "layer",
        "scale",
        "gates",
        "peers",
        "gpu",
        "numerics",
        "accuracy",
        "link",
        "verifier",
        "audit",
        "hybrid",
        "inference-constants",
        "inference-load",
        "inference-simulated",
        "ahead",
        "restart",
        "kills",
    ],
)
def test_every_kind_is_known(kind: str) -> None:
    assert kind in report.KINDS and kind in {record["kind"] for record in every_record()}


def test_results_record_system_and_version_and_no_machines_own_build() -> None:
    recorded = {record["machine"]["system"] for record in results.load_all()}
    assert recorded
    for system in (*recorded, results.environment()["machine"]["system"]):
        assert re.fullmatch(r"\w+( \d+(\.\d+)?)?, \w+(, \w+ [\d.]+)?", system), system
