"""Private models through LangChain's classes for OpenAI: a program that was written for those changes its address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import SecretStr

from secure.api import PrivateModel
from secure.connection import Parties
from secure.gateway.serving import Gateway
from tests.secure.letters import LETTERS, due, save_chat_model

MODEL = "private"
PROMPT = "aQz4"
COUNT = 4
KEY = SecretStr("unused")

Serve = Callable[[PrivateModel], str]


@pytest.fixture
def serve(serve_http: Callable[..., int]) -> Iterator[Serve]:
    """Serves a model and gives its address."""
    gateways: list[Gateway] = []

    def served(model: PrivateModel) -> str:
        gateways.append(Gateway(model, [MODEL]))
        return f"http://127.0.0.1:{serve_http(gateways[-1].app)}/v1"

    yield served
    for gateway in gateways:
        gateway.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_chat_model(tmp_path)
    return tmp_path


@pytest.fixture
def url(serve: Serve, folder: Path, clear_parties: Parties) -> str:
    return serve(PrivateModel.from_pretrained(folder, parties=clear_parties))


@pytest.fixture
def expected(folder: Path) -> str:
    """What transformers appends to the prompt, greedily."""
    from transformers import GPT2LMHeadModel

    ids = torch.tensor([[LETTERS.index(letter) for letter in PROMPT]])
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    appended = due(model, ids, max_new_tokens=COUNT, eos_token_id=0, pad_token_id=0)[0, len(PROMPT) :].tolist()
    return "".join(LETTERS[id] for id in appended if id)


def test_a_chat_whole_and_as_it_comes(url: str, expected: str) -> None:
    chat = ChatOpenAI(model=MODEL, base_url=url, api_key=KEY, temperature=0, max_completion_tokens=COUNT, max_retries=0)
    answer = chat.invoke(PROMPT)
    assert answer.content == expected
    assert answer.usage_metadata is not None and answer.usage_metadata["input_tokens"] == len(PROMPT)
    assert "".join(str(part.content) for part in chat.stream(PROMPT)) == expected


def test_a_completion(url: str, expected: str) -> None:
    complete = OpenAI(model=MODEL, base_url=url, api_key=KEY, temperature=0, max_tokens=COUNT, max_retries=0)
    assert complete.invoke(PROMPT) == expected


def test_embeddings_of_documents_and_of_a_query(serve: Serve, checkpoint: Path, clear_parties: Parties) -> None:
    model = PrivateModel.from_pretrained(checkpoint, parties=clear_parties)
    texts = ["the cat sat", "rain is cold", "the sun"]
    expected = model.encode(texts)
    # Otherwise it counts tokens itself, with the tokenizer of a model of OpenAI's.
    embed = OpenAIEmbeddings(
        model=MODEL, base_url=serve(model), api_key=KEY, check_embedding_ctx_length=False, max_retries=0
    )
    torch.testing.assert_close(torch.tensor(embed.embed_documents(texts)), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.tensor(embed.embed_query(texts[0])), expected[0], atol=1e-4, rtol=0)
