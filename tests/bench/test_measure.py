"""A tiny model, measured by real processes: what a record holds, and that its figures fit together."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import results, shapes
from bench.measure import Setting, measure
from bench.ops import by_op

pytestmark = pytest.mark.xdist_group("measure")  # one measurement serves the whole file

TINY = {
    "vocab_size": 30,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 16,
}


SETTING = Setting("tiny", 5, 2, "private", None, 2, phases=False)


def measured(setting: Setting) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shapes.SHAPES, "tiny", TINY)
        return measure(setting, Console(quiet=True))


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return measured(SETTING)


@pytest.fixture(scope="module")
def apart() -> dict[str, Any]:
    """Phases are measured by processes of their own, so with them it takes twice as long."""
    return measured(replace(SETTING, phases=True))


def test_each_run_and_their_median_are_kept(record: dict[str, Any]) -> None:
    assert record["kind"] == "model"
    assert len(record["seconds"]) == 2
    assert record["median_seconds"] == statistics.median(record["seconds"])
    assert record["load_seconds"] > 0 and record["plaintext_seconds"] > 0
    assert record["max_error"] < 5e-3
    assert record["network"] == {"name": "loopback"}
    assert set(record["peak_memory_bytes"]) == {"p0", "p1", "dealer"}


@pytest.mark.slow
def test_phases_add_up_in_every_run(apart: dict[str, Any]) -> None:
    phases = apart["phases"]
    parts = zip(phases["offline_seconds"], phases["online_seconds"], phases["client_seconds"], strict=True)
    assert all(min(part) > 0 for part in parts)
    parts = zip(phases["offline_seconds"], phases["online_seconds"], phases["client_seconds"], strict=True)
    assert [sum(part) for part in parts] == pytest.approx(phases["seconds"])


def test_costs_by_op_add_up(record: dict[str, Any]) -> None:
    for figure in ("rounds", "online_bytes", "dealer_bytes"):
        assert record[figure] == sum(op[figure] for op in record["ops"].values()) > 0


def check_layers(part: dict[str, Any]) -> None:
    """Layers take no longer than their run."""
    assert {"embeddings", "layer.0", "layer.1", "pooler", "reveal"} <= set(part["layer_seconds"])
    assert sum(part["layer_seconds"].values()) < max(part["seconds"])


def test_layers_take_no_longer_than_the_run(record: dict[str, Any]) -> None:
    check_layers(record)


@pytest.mark.slow
def test_layers_take_no_longer_than_their_phases(apart: dict[str, Any]) -> None:
    check_layers(apart)
    check_layers(apart["phases"])


def test_the_ops_of_one_layer_are_told_from_the_others() -> None:
    figures = {"op": "open", "calls": 1, "rounds": 1, "online_bytes": 8, "dealer_bytes": 4, "seconds": 0.5}
    rows = [{"layer": layer} | figures for layer in ("embeddings", "layer.0", "layer.1", "layer.10")]
    of_roles = {"p1": rows, "dealer": rows}
    one = {"rounds": 1, "online_bytes": 16, "dealer_bytes": 4, "p1": 0.5, "dealer": 0.5}
    assert by_op(of_roles, "layer.1") == {"open": one}
    assert by_op(of_roles) == {"open": {name: 4 * value for name, value in one.items()}}


def test_a_record_is_written_with_machine_commit_command_and_versions(
    record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    results.save("tiny", record)
    (read,) = results.load_all()
    assert {"schema", "date", "command", "commit", "machine", "versions"} <= set(read)
    assert read["ops"] == record["ops"]
