"""The tables of our functions beside PUMA's."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertModel

from bench import results
from bench.numerics import networks
from bench.numerics.functions import Case, cases, measure
from bench.numerics.table import compared
from bench.tiny import train
from bench.tiny.train import Recipe, checkpoint
from secure.demo.sample import model_folder
from secure.protocols.core.errors import ConfigurationError
from tests.bench.records import numerics_record
from tests.bench.test_report import rows

(RECORD,) = (record for record in results.load_all() if record["kind"] == "numerics")
SMALL = Recipe(vocabulary=400, width=32, layers=1, heads=2, kv_heads=1, feed_forward=48, steps=6, characters=20_000)


def nothing(text: str) -> None:
    """Said to nobody."""


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_ours_is_no_less_exact(case: Case) -> None:
    ours, pumas = (measure(function, case.arguments, case.exact) for function in (case.ours, case.pumas))
    assert 0 < ours.max_error < 1e-3
    assert ours.max_error <= 2 * pumas.max_error, "where the formulas are the same, rounding differs"
    committed = {row["functions"]: row for row in RECORD["functions"] if row["name"] == case.name}
    for name, found in (("ours", ours), ("puma", pumas)):
        due = committed[name]["bytes_per_party"], committed[name]["rounds"]
        assert (found.bytes_per_party, found.rounds) == due, "run `python -m bench numerics`, then `bench report`"


@pytest.mark.slow
def test_sentence_embeddings_lose_more_by_pumas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of MiniLM's first layer."""
    BertModel.from_pretrained(model_folder(), num_hidden_layers=1).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model_folder()).save_pretrained(tmp_path)
    monkeypatch.setattr(networks, "LENGTHS", ((1, 12), (13, 16)))
    found = networks.embeddings(tmp_path, 1, nothing)["rows"]
    bands = [([1, 12], 1), ([13, 16], 1), ([1, 16], 2)]
    assert [(row["tokens"], row["sentences"]) for row in found] == [*bands, *bands]
    assert [row["functions"] for row in found] == ["ours"] * 3 + ["puma"] * 3
    ours, pumas = found[2], found[5]
    assert 1 - 1e-5 < ours["lowest_cosine"] <= ours["mean_cosine"] <= 1
    assert 0.99 < pumas["lowest_cosine"] <= pumas["mean_cosine"] < ours["lowest_cosine"]


@pytest.mark.slow
def test_perplexity_is_that_of_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "CACHE", tmp_path)
    found = networks.perplexity(checkpoint("base", SMALL, nothing), 2, nothing)
    exact, ours, pumas = found["rows"]
    assert (found["windows"], found["tokens_predicted"]) == (2, 254)
    assert [row["functions"] for row in found["rows"]] == ["float", "ours", "puma"]
    assert 1 < exact["perplexity"] < SMALL.vocabulary and exact["largest_logit_error"] == 0
    assert ours["perplexity"] == pytest.approx(exact["perplexity"], rel=1e-3)
    assert pumas["perplexity"] == pytest.approx(exact["perplexity"], rel=2e-2)
    assert 0 < ours["largest_logit_error"] < pumas["largest_logit_error"]


def test_more_text_than_there_is_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "CACHE", tmp_path)
    with pytest.raises(ConfigurationError, match="sentences of 1 to 16 tokens, not 10000"):
        networks.embeddings(model_folder(), 10_000, nothing)
    with pytest.raises(ConfigurationError, match="windows of 128 tokens, not 100000"):
        networks.perplexity(checkpoint("base", SMALL, nothing), 100_000, nothing)


def test_every_figure_is_in_the_tables() -> None:
    text = compared(numerics_record())
    functions, sentences, perplexities = (rows(part) for part in text.split("\n\n") if part.startswith("|"))
    assert functions == [["gelu", "-8 to 8", "PUMA's", "2.0e-02", "1.8e-03", "144.5", "21"]]
    assert sentences == [["1 to 16", "9", "ours", "0.9999990", "0.9999995"]]
    assert perplexities == [["exact, in float32", "12.3456", "0.0e+00"]]
    assert "16 windows, 2,032 tokens predicted" in text and "Included: threads.\nExcluded: seconds." in text
