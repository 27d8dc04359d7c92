"""Tiny random checkpoints with a tokenizer, as transformers writes them, and one of them encrypted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from secure.ee.files import claims
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.protocols.equivariant.key import Key
from tests.secure.ee.serving import (  # noqa: F401 (fixtures)
    certificates,
    connect,
    engine,
    start,
    tiny,
    tiny_engine,
)

TEXTS = (
    "the cat sat on the mat and the dog sat in the sun",
    "rain is cold and the sun is warm, said the small cat",
    "a dog and a cat on a warm mat in the rain",
)
SIZE = 311
"""Rows of the embedding: a few more than the tokenizer has tokens, as in many real models."""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with a beginning that is inserted, an end, padding, and a token that is only added."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_special_tokens([AddedToken("<|user|>", special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=64
    )


def shake(model: PreTrainedModel) -> PreTrainedModel:
    """Gains and biases of a fresh model are ones and zeros: a swapped pair would go unnoticed."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


SMALL: dict[str, Any] = {
    "vocab_size": SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    # Larger than usual, so that a random model prefers some tokens clearly.
    "initializer_range": 0.3,
}


def save_llama(folder: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(**(SMALL | changes)))
    shake(model).to(dtype).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return model


def _results_at(patch: pytest.MonkeyPatch, path: Path) -> None:
    patch.setattr(claims, "RED_TEAM", path)


@pytest.fixture(scope="session", autouse=True)
def no_red_team_yet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The red team's results change from release to release; checkpoints that tests share are made without any."""
    with pytest.MonkeyPatch.context() as patch:
        _results_at(patch, tmp_path_factory.mktemp("none") / "red_team.json")
        yield


@pytest.fixture(autouse=True)
def no_red_team(no_red_team_yet: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where a test can write results of its own; there are none until it does."""
    _results_at(monkeypatch, tmp_path / "red_team.json")
    return tmp_path / "red_team.json"


@pytest.fixture(scope="session")
def key() -> Key:
    return Key(bytes(range(32)))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "llama"
    save_llama(folder)
    return folder


@pytest.fixture(scope="session")
def plain(base: Path) -> LlamaForCausalLM:
    """The base model itself."""
    return LlamaForCausalLM.from_pretrained(base).eval()


@pytest.fixture(scope="session")
def encrypted(base: Path, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by many tests, which leave it as it is."""
    folder = tmp_path_factory.mktemp("encrypted") / "llama"
    encrypt_checkpoint(base, key, folder)
    return folder


@pytest.fixture
def edit_config() -> Callable[..., None]:
    """Change fields of a JSON file in a folder; None removes one."""

    def change(folder: Path, name: str = "config.json", **fields: Any) -> None:
        document = json.loads((folder / name).read_text()) | fields
        (folder / name).write_text(json.dumps({k: v for k, v in document.items() if v is not None}))

    return change
