"""A tiny decoder, measured while real processes generate with it."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bench import shapes
from bench.generation import Setting, extrapolate, measure_generation
from secure.protocols.core.errors import ConfigurationError

TINY = {"vocab_size": 61, "n_embd": 24, "n_layer": 3, "n_head": 3, "n_positions": 20, "initializer_range": 0.5}
SETTING = Setting("tiny", 5, 4, 2, "private", 1, 2)
QUIET = Console(quiet=True)

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shapes.DECODERS, "tiny", ("gpt2", TINY))
        return measure_generation(SETTING, QUIET)


@pytest.mark.slow
def test_every_step_of_every_run_is_kept(record: dict[str, Any]) -> None:
    assert record["kind"] == "generation"
    assert [len(run) for run in record["step_seconds"]] == [4, 4]
    later = [second for run in record["step_seconds"] for second in run[1:]]
    assert record["token_seconds"] == statistics.median(later) > 0
    assert record["max_error"] < 5e-3
    assert set(record["step_disk_bytes"]) == {"p0", "p1", "dealer"}


@pytest.mark.slow
def test_what_a_token_costs(record: dict[str, Any]) -> None:
    for figure in ("rounds", "online_bytes", "dealer_bytes"):
        token = record[f"token_{figure}"]
        assert token == pytest.approx(sum(op[figure] for op in record["token_ops"].values()))
        assert token > 0
    # A prompt of five tokens in two rows takes more bytes than one token in each, and less than ten times as many.
    assert 1 < record["prompt_online_bytes"] / record["token_online_bytes"] < 10
    # p1 gets one-hot vectors of 61 words and 20 positions, 3 bytes each, for two rows; p0 a seed.
    assert record["token_upload_bytes"] == 2 * 3 * 81 + 16
    assert 0 < record["token_embedding"]["online_bytes"] < record["token_online_bytes"]


@pytest.mark.slow
def test_tokens_alone_have_no_logits_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shapes.DECODERS, "tiny", ("gpt2", TINY))
    record = measure_generation(replace(SETTING, reveal="token", generate=3, repeats=1), QUIET)
    assert "max_error" not in record
    assert record["least_margin"] > 0 and record["tokens_equal"] == 1


@pytest.mark.slow
def test_parties_with_a_limit_serve_their_own_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shapes.DECODERS, "tiny", ("gpt2", TINY))
    record = measure_generation(replace(SETTING, memory_gb=1.5, generate=2, repeats=1), QUIET)
    assert record["tokens_equal"] == 1
    with pytest.raises(ConfigurationError, match="loopback"):
        measure_generation(replace(SETTING, memory_gb=1.5, network="lan"), QUIET)


@pytest.mark.slow
def test_layers_that_were_not_measured_are_said_to_be_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shapes.DECODERS, "tiny", ("gpt2", TINY))
    record = extrapolate(replace(SETTING, layers=2, repeats=1, generate=2), QUIET)
    found = record["extrapolated"]
    assert found["layers"] == 3 and "2 of 3 layers" in found["how"]
    # There are three layers, of which the third was not measured.
    assert found["whole_token_rounds"] == record["token_rounds"] + found["layer_token_rounds"]
    assert found["layer_token_seconds"] > 0
    assert found["layer_token_online_bytes"] > 0


def test_settings_that_say_nothing_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="--generate takes 2 or more"):
        measure_generation(replace(SETTING, generate=1), QUIET)
    with pytest.raises(ConfigurationError, match="unknown decoder 'bert-base'; known: gpt2"):
        measure_generation(replace(SETTING, model="bert-base"), QUIET)
    with pytest.raises(ConfigurationError, match="--extrapolate wants --layers"):
        extrapolate(replace(SETTING, model="gpt2", layers=None), QUIET)
