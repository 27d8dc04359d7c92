"""A tiny random model with a tokenizer, and references for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from secure.connection import Parties
from tests.secure.clear_client import ClearClient
from tests.secure.commands import start_process  # noqa: F401 (a fixture)
from tests.secure.fakes import InProcessClient
from tests.secure.http_serving import openai_client, serve_http  # noqa: F401 (fixtures)
from tests.secure.running import Running, running

WORDS = ("the", "a", "cat", "dog", "sat", "on", "mat", "sun", "is", "warm", "rain", "cold", "##s", "##ing", ".", "é")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)
MOST_TOKENS = 20


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers saves it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=37,
        max_position_embeddings=MOST_TOKENS,
    )
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def reference(checkpoint: Path) -> BertModel:
    """The same model in the clear."""
    return BertModel.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="session")
def beaver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Processes of p0, p1 and the dealer. Tests that take these share them, and are in the group `parties`."""
    with running("beaver", tmp_path_factory.mktemp("beaver")) as found:
        yield found


@pytest.fixture(scope="session")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Processes of p0, p1 and p2; as for `beaver`."""
    with running("replicated", tmp_path_factory.mktemp("replicated")) as found:
        yield found


@pytest.fixture
def client() -> InProcessClient:
    return InProcessClient()


@pytest.fixture
def parties(client: InProcessClient) -> Parties:
    return Parties(client)


@pytest.fixture
def clear_client() -> ClearClient:
    return ClearClient()


@pytest.fixture
def clear_parties(clear_client: ClearClient) -> Parties:
    """For tests of what the client does with answers, however they are computed."""
    return Parties(clear_client)


def plain_outputs(model: Any, ids: Tensor, mask: Tensor | None = None, types: Tensor | None = None) -> Any:
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask, token_type_ids=types)


def plain_embeddings(model: Any, tokenizer: Any, sentences: list[str]) -> Tensor:
    """Each sentence by itself: mean over its tokens, length 1."""
    found = []
    for sentence in sentences:
        ids = torch.tensor([tokenizer(sentence)["input_ids"]])
        found.append(torch.nn.functional.normalize(plain_outputs(model, ids).last_hidden_state.mean(1)))
    return torch.cat(found)
