"""Classifiers of text and images through EncryptedModel, beside the plain model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Config,
    GPT2ForQuestionAnswering,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    MistralConfig,
    MistralForSequenceClassification,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForSequenceClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from secure.ee.client.model import EncryptedModel
from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.owner.decrypt import decrypt_checkpoint
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.ee.owner.verify import verify_checkpoint
from secure.parties.encrypted.engine import EncoderInputs
from secure.parties.encrypted.limits import GenerationLimits
from secure.parties.encrypted.server import GenerationServer
from secure.parties.encrypted.service import make_generation_certificates
from secure.protocols.core.errors import InputError
from secure.protocols.equivariant.key import Key
from tests.secure.ee.conftest import SIZE, SMALL, shake

GPT2 = {"vocab_size": SIZE, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
CAUSAL: dict[str, Callable[..., PreTrainedModel]] = {
    "llama": lambda **ids: LlamaForSequenceClassification(LlamaConfig(**SMALL | ids, num_labels=3)),
    "mistral": lambda **ids: MistralForSequenceClassification(MistralConfig(**SMALL | ids, num_labels=3)),
    "qwen2": lambda **ids: Qwen2ForSequenceClassification(Qwen2Config(**SMALL | ids, num_labels=3)),
    "gpt2": lambda **ids: GPT2ForSequenceClassification(GPT2Config(**GPT2 | ids, num_labels=3)),
}
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def saved(make: Callable[[], PreTrainedModel], folder: Path, key: Key) -> PreTrainedModel:
    """A random model with its checkpoint below `folder`, plain in "base" and encrypted in "out"."""
    torch.manual_seed(1)
    plain = shake(make())
    plain.save_pretrained(folder / "base")
    encrypt_checkpoint(folder / "base", key, folder / "out")
    return plain


def rows(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of rows of these lengths, and their mask."""
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return torch.randint(4, SIZE, mask.shape, generator=torch.Generator().manual_seed(2)) * mask, mask


@pytest.mark.parametrize("padding", [0, None])
@pytest.mark.parametrize("name", CAUSAL)
def test_the_last_token_of_a_short_row_is_found(name: str, padding: int | None, tmp_path: Path, key: Key) -> None:
    plain = saved(lambda: CAUSAL[name](bos_token_id=1, eos_token_id=2, pad_token_id=padding), tmp_path, key)
    model = EncryptedModel.from_pretrained(tmp_path / "out", key=key)
    ids, mask = rows(9, 5, 3)
    with torch.no_grad():
        due = torch.cat([plain(row[keep.bool()][None]).logits for row, keep in zip(ids, mask, strict=True)])
    torch.testing.assert_close(model(ids, mask).logits, due, rtol=0, atol=2e-5 * float(due.abs().max()))


OF_TOKENS: dict[str, Callable[[], PreTrainedModel]] = {
    "bert tokens": lambda: BertForTokenClassification(
        BertConfig(vocab_size=SIZE, initializer_range=0.2, num_labels=3, **SHAPE)
    ),
    "llama tokens": lambda: LlamaForTokenClassification(LlamaConfig(**SMALL, num_labels=3)),
    "llama answers": lambda: LlamaForQuestionAnswering(LlamaConfig(**SMALL)),
    "gpt2 answers": lambda: GPT2ForQuestionAnswering(GPT2Config(**GPT2, bos_token_id=1, eos_token_id=2)),
}


@pytest.mark.parametrize("name", OF_TOKENS)
def test_heads_that_say_something_of_every_token(name: str, tmp_path: Path, key: Key) -> None:
    plain = saved(OF_TOKENS[name], tmp_path, key)
    model = EncryptedModel.from_pretrained(tmp_path / "out", key=key)
    ids, mask = rows(9, 5, 3)
    with torch.no_grad():
        due = plain(ids, attention_mask=mask)
    found = model(ids, mask)
    assert list(found) == [kind for kind, value in due.items() if isinstance(value, torch.Tensor)]
    for kind, values in found.items():
        expected = due[kind] * (mask if values.dim() == 2 else mask[..., None])
        torch.testing.assert_close(values, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))
    with pytest.raises(InputError, match="takes token ids"):
        TransformersEngine(tmp_path / "out").classify(EncoderInputs(pixels=torch.zeros(1, 3, 2, 2)))


def test_token_types_of_rows_that_run_one_by_one(tmp_path: Path, key: Key) -> None:
    config = BertConfig(vocab_size=SIZE, initializer_range=0.2, pad_token_id=None, **SHAPE)
    plain = saved(lambda: BertForSequenceClassification(config), tmp_path, key)
    ids, mask = rows(7, 4)
    types = (torch.arange(7) > 2).long().expand(2, 7)
    with torch.no_grad():
        due = plain(ids, attention_mask=mask, token_type_ids=types).logits
    found = EncryptedModel.from_pretrained(tmp_path / "out", key=key)(ids, mask, types).logits
    torch.testing.assert_close(found, due, rtol=0, atol=2e-5 * float(due.abs().max()))


RESNET: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "num_labels": 5}


@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_a_resnet_from_encryption_to_decryption(dtype: torch.dtype | None, tmp_path: Path, key: Key) -> None:
    torch.manual_seed(1)
    plain = shake(ResNetForImageClassification(ResNetConfig(**RESNET)))
    plain.resnet.embedder.embedder.normalization.num_batches_tracked.fill_(7)
    plain.save_pretrained(tmp_path / "base")
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out", dtype=dtype)
    assert verify_checkpoint(tmp_path / "out", key=key, base=tmp_path / "base")[-1].what == "base"
    decrypt_checkpoint(tmp_path / "out", key, tmp_path / "again")
    again = ResNetForImageClassification.from_pretrained(tmp_path / "again").eval()
    assert again.resnet.embedder.embedder.normalization.num_batches_tracked == 7
    images = torch.rand(2, 3, 24, 40)
    with torch.no_grad():
        due, decrypted = plain(images).logits, again(images.to(again.dtype)).logits
    model = EncryptedModel.from_pretrained(tmp_path / "out", key=key)
    for found in (model(pixel_values=images).logits, decrypted):
        torch.testing.assert_close(found.float(), due, rtol=0, atol=1e-4 * float(due.abs().max()))
    with pytest.raises(InputError, match="feature maps, no hidden states"):
        EncryptedModel.from_pretrained(tmp_path / "out", key=key, head=False)(pixel_values=images)
    with pytest.raises(InputError, match="feature maps, no hidden states"):
        TransformersEngine(tmp_path / "out").embed(EncoderInputs(pixels=images), "mean")


def test_oblong_images(tmp_path: Path, key: Key) -> None:
    config = ViTConfig(image_size=[8, 12], patch_size=4, num_labels=5, initializer_range=0.2, **SHAPE)
    plain = saved(lambda: ViTForImageClassification(config), tmp_path, key)
    model = EncryptedModel.from_pretrained(tmp_path / "out", key=key)
    images = torch.rand(2, 3, 8, 12)
    with torch.no_grad():
        due = plain(images).logits
    found = model(pixel_values=images).logits
    torch.testing.assert_close(found, due, rtol=0, atol=1e-4 * float(due.abs().max()))
    with pytest.raises(InputError, match=r"images must be \[3, 8, 12\]"):
        TransformersEngine(tmp_path / "out").classify(EncoderInputs(pixels=images.transpose(2, 3)))


def test_more_rows_than_a_server_takes_at_a_time(tmp_path: Path, key: Key) -> None:
    config = BertConfig(vocab_size=SIZE, initializer_range=0.2, **SHAPE)
    plain = saved(lambda: BertForSequenceClassification(config), tmp_path, key)
    make_generation_certificates(tmp_path / "certs", {"server": ["127.0.0.1"]})
    server = GenerationServer("127.0.0.1:0", tmp_path / "certs", TransformersEngine(tmp_path / "out"))
    where, certificates = f"127.0.0.1:{server.start()}", tmp_path / "certs"
    lengths = [5] * GenerationLimits.rows + [3, 7]
    ids, mask = rows(*lengths)
    types = mask * (torch.arange(7) > 1)
    with torch.no_grad():
        classes = plain(ids, attention_mask=mask, token_type_ids=types).logits
        hidden = plain.bert(ids, attention_mask=mask, token_type_ids=types).last_hidden_state * mask[..., None]
    there: dict[str, Any] = {"key": key, "server": where, "certificates": certificates}
    with (
        EncryptedModel.from_pretrained(tmp_path / "out", **there) as model,
        EncryptedModel.from_pretrained(tmp_path / "out", **there, head=False) as body,
    ):
        found = model(ids, mask, types).logits, body(ids, mask, types).last_hidden_state
        # The names that transformers leaves out of the configuration.
        assert model.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    server.stop()
    for got, due in zip(found, (classes, hidden), strict=True):
        torch.testing.assert_close(got, due, rtol=0, atol=2e-5 * float(due.abs().max()))
