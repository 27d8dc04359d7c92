"""all-MiniLM-L6-v2 on three processes, against transformers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import BertModel

import secure
from secure.demo.sample import DOCUMENTS, model_folder
from secure.tokens import load_tokenizer
from tests.secure.conftest import plain_embeddings, plain_outputs

LEAST_COSINE = 0.9999
MOST_DIFFERENCE = 5e-3
MOST_MEMORY_BYTES = 2_000_000_000

pytestmark = [pytest.mark.slow, pytest.mark.processes, pytest.mark.timeout(1800)]

SENTENCES = [
    *DOCUMENTS,
    "Hello",
    "a",
    "?",
    "!!!",
    "no no no no no no no no no no no no no no no no",
    "the " * 60,
    "word " * 126,  # 128 tokens with the two special ones
    "buffalo " * 40,
    "Straße, naïve façade, coöperation",
    "Привет, мир",
    "Γειά σου Κόσμε",
    "こんにちは世界",
    "你好，世界",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "안녕하세요 세계",
    "🙂🚀🌍",
    "e\u0301 and \u00e9 are the same letter",
    "x = (a + b) * c - 3.14159 / d ** 2",
    "SELECT name FROM users WHERE id = 42;",
    "https://example.org/path?query=value#fragment",
    "ALL CAPITALS ARE LOUD",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    "[MASK] [SEP] [CLS]",
    "A man, a plan, a canal: Panama.",
    "To be, or not to be, that is the question: " * 4,
    "The quick brown fox jumps over the lazy dog. " * 8,
    "tabs\tand\nnewlines\r\nare white space",
    "“Quotes” – dashes — and ellipses …",
]


@pytest.fixture(scope="module")
def model() -> Iterator[secure.PrivateModel]:
    with secure.launch() as parties:
        yield secure.PrivateModel.from_pretrained(model_folder(), parties=parties)


@pytest.fixture(scope="module")
def reference() -> Any:
    return BertModel.from_pretrained(model_folder()).eval()


def test_fifty_sentences(model: secure.PrivateModel, reference: Any) -> None:
    assert len(SENTENCES) == 50
    tokenizer = load_tokenizer(model_folder())
    expected = plain_embeddings(reference, tokenizer, SENTENCES)
    ours = model.encode(SENTENCES)
    cosine = torch.nn.functional.cosine_similarity(ours.double(), expected.double())
    difference = (ours - expected).abs().amax(1)
    print(f"lowest cosine {float(cosine.min()):.7f}, largest difference {float(difference.max()):.2e}")
    assert float(cosine.min()) >= LEAST_COSINE, SENTENCES[int(cosine.argmin())][:40]
    assert float(difference.max()) <= MOST_DIFFERENCE, SENTENCES[int(difference.argmax())][:40]
    assert max(totals.memory_bytes for totals in model.report.roles.values()) < MOST_MEMORY_BYTES


def test_hidden_states(model: secure.PrivateModel, reference: Any) -> None:
    ids = torch.tensor([load_tokenizer(model_folder())(DOCUMENTS[0])["input_ids"]])  # type: ignore[misc]
    ours, theirs = model(input_ids=ids), plain_outputs(reference, ids)
    cosine = torch.nn.functional.cosine_similarity(ours.last_hidden_state, theirs.last_hidden_state, dim=2)
    assert float(cosine.min()) >= LEAST_COSINE
    assert float(torch.nn.functional.cosine_similarity(ours.pooler_output, theirs.pooler_output).min()) >= LEAST_COSINE
