"""The base as it is read: heads that its configuration ties and its tensors do not, and fields that it lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from secure.ee.files.base import read_config
from secure.ee.files.checkpoint import open_checkpoint
from secure.ee.owner.decrypt import decrypt_checkpoint
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.ee.owner.verify import verify_checkpoint
from secure.models.families.registry import FAMILIES
from secure.protocols.equivariant import Key, plan

BERT = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
TIED: dict[str, tuple[Callable[[], PreTrainedModel], list[str]]] = {
    "gpt2": (
        lambda: GPT2LMHeadModel(
            GPT2Config(vocab_size=61, n_embd=32, n_layer=1, n_head=4, bos_token_id=0, eos_token_id=0)
        ),
        ["lm_head.weight"],
    ),
    "words": (
        lambda: BertForMaskedLM(BertConfig(**BERT, initializer_range=0.2)),
        ["cls.predictions.decoder.weight"],
    ),
    "bias": (
        lambda: BertForMaskedLM(BertConfig(**BERT, initializer_range=0.2)),
        ["cls.predictions.decoder.bias"],
    ),
    "both": (
        lambda: BertForMaskedLM(BertConfig(**BERT, initializer_range=0.2)),
        ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias"],
    ),
}


@pytest.mark.parametrize("case", TIED)
def test_a_stored_head_that_is_not_the_tied_one_counts(case: str, tmp_path: Path, key: Key) -> None:
    """As transformers 5 has it: encrypted, decrypted and verified are what the checkpoint computes there."""
    make, own = TIED[case]
    torch.manual_seed(3)
    tied = make().eval()
    tied.save_pretrained(tmp_path / "base")
    path = tmp_path / "base" / "model.safetensors"
    shapes = {name: (61,) if name.endswith("bias") else (61, 32) for name in own}
    save_file(load_file(path) | {name: torch.randn(shape) for name, shape in shapes.items()}, path, {"format": "pt"})
    plain = type(tied).from_pretrained(tmp_path / "base").eval()
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out")
    assert verify_checkpoint(tmp_path / "out", key=key, base=tmp_path / "base")[-1].what == "base"
    decrypt_checkpoint(tmp_path / "out", key, tmp_path / "again")
    encrypted = type(tied).from_pretrained(tmp_path / "out").eval()
    again = type(tied).from_pretrained(tmp_path / "again").eval()
    vocabulary = open_checkpoint(tmp_path / "out", key).vocabulary
    assert vocabulary is not None
    ids = torch.randint(3, 61, (2, 7), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        due, decrypted = plain(ids).logits, again(ids).logits
        moved = encrypted(torch.tensor([vocabulary.encrypt_ids(row) for row in ids.tolist()])).logits
        assert float((due - tied(ids).logits).abs().max()) > 0.1
    found = moved[..., torch.tensor(vocabulary.encrypt_ids(list(range(61))))]
    for logits in (found, decrypted):
        torch.testing.assert_close(logits, due, rtol=0, atol=2e-5 * float(due.abs().max()))


@pytest.mark.parametrize("model_type", [name for name, family in FAMILIES.items() if family.encrypted is not None])
def test_a_type_alone_is_the_model_that_transformers_makes_of_it(model_type: str, tmp_path: Path, key: Key) -> None:
    """A field that config.json lacks has transformers' value here, too."""
    family = FAMILIES[model_type].encrypted
    assert family is not None
    named = {"model_type": model_type, "architectures": [next(iter(family.heads))], "tie_word_embeddings": False}
    (tmp_path / "config.json").write_text(json.dumps(named), encoding="utf-8")
    whole = json.loads(AutoConfig.for_model(model_type).to_json_string(use_diff=False)) | named
    assert plan(family, read_config(tmp_path), key).tensors == plan(family, whole, key).tensors
