"""The tiny model: text without overlap, training that repeats, checkpoints that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from bench.tiny import corpus, train
from bench.tiny.train import Recipe, checkpoint

SMALL = Recipe(
    vocabulary=400, width=32, layers=1, heads=2, kv_heads=1, feed_forward=48, window=32, batch=4, steps=6,
    drift_steps=3, characters=20_000,
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "CACHE", tmp_path)
    torch.manual_seed(0)


def test_bodies_share_no_session() -> None:
    bodies = [set(corpus.sessions(body)) for body in ("base", "public", "traffic", "private")]
    for number, one in enumerate(bodies):
        for other in bodies[number + 1 :]:
            assert len(one & other) <= 0.01 * len(one)


def test_every_session_begins_with_the_template() -> None:
    assert all(session.startswith(corpus.opening()) for session in corpus.sessions("traffic", 20_000))


def test_training_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet: list[str] = []
    first = checkpoint("base", SMALL, quiet.append)
    assert checkpoint("base", SMALL, quiet.append) == first
    monkeypatch.setattr(train, "CACHE", tmp_path / "again")
    again = checkpoint("base", SMALL, quiet.append)
    due, found = (load_file(folder / "model.safetensors") for folder in (first, again))
    assert due.keys() == found.keys()
    assert all(torch.equal(due[name], found[name]) for name in due)


def test_the_drift_begins_at_the_base() -> None:
    quiet: list[str] = []
    base, drifted = (checkpoint(variant, SMALL, quiet.append) for variant in ("base", "finetuned"))
    due, found = (load_file(folder / "model.safetensors") for folder in (base, drifted))
    name = "model.embed_tokens.weight"
    change = (found[name] - due[name]).norm() / due[name].norm()
    assert 0 < change < 0.5


def test_the_tokenizer_is_lossless_and_knows_the_template() -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint("base", SMALL, lambda _: None))
    session = corpus.sessions("traffic", 20_000)[3]
    ids = tokenizer(session, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == session
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
    assert rendered == corpus.opening() + "Hello"
