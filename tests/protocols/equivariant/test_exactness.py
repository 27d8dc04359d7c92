"""Encrypted models compute what their bases compute: every family and every kind of configuration that is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertForMaskedLM,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    PreTrainedModel,
)

from secure.protocols.equivariant import Key, Transform
from tests.protocols.equivariant.tiny import (
    EVERY,
    HIDDEN,
    IMAGES,
    LANGUAGE,
    Checkpoint,
    Variant,
    decrypt,
    encrypt,
    ids,
    load,
    relative,
    save,
)
from tests.sampling import sampled

# Of the issue: relative logit differences.
FLOAT64 = 1e-10
FLOAT32 = 2e-5

OPTIONS: dict[str, dict[str, Any]] = {"plain": {}, "permutations": {"permutations": True}, "tie": {"keep_tie": True}}
TIED = ("llama tied", "qwen2 tied", "qwen3 tied", "gpt2")
CHOICES = [
    pytest.param(name, options, id=f"{name}-{options}")
    for options in OPTIONS
    for name in (TIED if options == "tie" else EVERY)
]
ONE_OF_A_KIND = (
    "llama biases",
    "qwen2 tied",
    "qwen3 tied",
    "gpt2",
    "bert words",
    "bert sequence",
    "vit",
    "vit body",
    "resnet basic",
)


def mask() -> Tensor:
    """Rows of different lengths, padded on the right. Shapes: int64 [3, 21]."""
    lengths = torch.tensor([21, 14, 9])
    return (torch.arange(21) < lengths[:, None]).long()


def base_outputs(name: str, model: PreTrainedModel, dtype: torch.dtype) -> list[Tensor]:
    """Outputs of the base for the test's input."""
    with torch.no_grad():
        if name in IMAGES:
            return outputs(model(images(model, dtype)))
        return outputs(model(input_ids=ids(), attention_mask=mask()))


def encrypted_outputs(name: str, model: PreTrainedModel, transform: Transform, dtype: torch.dtype) -> list[Tensor]:
    """Outputs of the encrypted model, with what a client does before and behind."""
    with torch.no_grad():
        if name in IMAGES:
            raw = model(transform.encrypt_pixels(images(model, dtype)))
        else:
            tokens = ids() if transform.vocabulary is None else transform.vocabulary.encrypt_ids(ids())
            raw = model(input_ids=tokens, attention_mask=mask())
    if name in LANGUAGE:
        return [raw.logits if transform.vocabulary is None else transform.vocabulary.decrypt_logits(raw.logits)]
    if name == "resnet body":
        return [transform.decrypt_pooled(value) for value in outputs(raw)]
    if name in HIDDEN or name == "vit body":
        pooled = [transform.decrypt_pooled(raw.pooler_output)] if "pooler_output" in raw else []
        return [transform.decrypt_hidden(raw.last_hidden_state), *pooled]
    return outputs(raw)


def outputs(raw: Any) -> list[Tensor]:
    return [raw[key] for key in raw if key != "past_key_values"]


def images(model: PreTrainedModel, dtype: torch.dtype) -> Tensor:
    channels = model.config.num_channels
    height, width = 32, 32
    if model.config.model_type == "vit":
        size = model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(5)).to(dtype)


def compare(name: str, checkpoint: Checkpoint, tmp_path: Path, dtype: torch.dtype, **options: Any) -> float:
    variant = EVERY[name]
    transform = checkpoint.plan(**options)
    encrypted = encrypt(checkpoint, transform, tmp_path / "encrypted")
    expected = base_outputs(name, load(variant, checkpoint, dtype), dtype)
    found = encrypted_outputs(name, load(variant, encrypted, dtype), transform, dtype)
    assert len(found) == len(expected)
    return max(relative(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize(("name", "options"), sampled(CHOICES))
def test_float64(name: str, options: str, tmp_path: Path, exact_norms: None) -> None:
    checkpoint = save(EVERY[name], tmp_path / "base")
    assert compare(name, checkpoint, tmp_path, torch.float64, **OPTIONS[options]) <= FLOAT64


ONE_OF_A_KIND_FIRST = [pytest.param(name, marks=() if name in ONE_OF_A_KIND else pytest.mark.slow) for name in EVERY]
"""The default run has all of them in float64 with some options (above)."""


@pytest.mark.parametrize("name", ONE_OF_A_KIND_FIRST)
def test_float32(name: str, tmp_path: Path) -> None:
    """As transformers computes it, nothing changed."""
    checkpoint = save(EVERY[name], tmp_path / "base", torch.float32)
    assert compare(name, checkpoint, tmp_path, torch.float32) <= FLOAT32


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_each_factor_alone(name: str, tmp_path: Path, exact_norms: None) -> None:
    checkpoint = save(EVERY[name], tmp_path / "base")
    for factor in checkpoint.plan().factors:
        folder = tmp_path / factor
        folder.mkdir()
        assert compare(name, checkpoint, folder, torch.float64, factors=(factor,)) <= FLOAT64, factor


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("name", ["gpt2", "gpt2 body", "bert body", "bert words", "bert sequence", "vit", "vit body"])
def test_both_signs_of_a_stream_with_layer_norm(name: str, sign: float, tmp_path: Path) -> None:
    """LayerNorm is odd but for its bias, so one sign for all dimensions is exact; keys are chosen to have either."""
    checkpoint = save(EVERY[name], tmp_path / "base")
    for number in range(256):
        key = Key(bytes([number] * 32))
        ones = checkpoint.plan(key).embed_basis(torch.ones(1, 32, dtype=torch.float64))
        assert float((ones.abs() - 1).abs().max()) < 1e-12
        if float(ones[0, 0].sign()) == sign:
            assert compare(name, checkpoint, tmp_path, torch.float64, key=key) <= FLOAT64
            return
    pytest.fail("no key with this sign")


@pytest.mark.parametrize("name", ONE_OF_A_KIND_FIRST)
def test_decrypted_checkpoint_serves_as_the_base(name: str, tmp_path: Path, exact_norms: None) -> None:
    checkpoint, variant = save(EVERY[name], tmp_path / "base"), EVERY[name]
    transform = checkpoint.plan()
    encrypted = encrypt(checkpoint, transform, tmp_path / "encrypted")
    assert dict(transform.tensors) == {name: tuple(value.shape) for name, value in encrypted.tensors.items()}
    back = decrypt(checkpoint, encrypted, transform, tmp_path / "back")
    expected = base_outputs(name, load(variant, checkpoint), torch.float64)
    found = base_outputs(name, load(variant, back), torch.float64)
    assert max(relative(*pair) for pair in zip(found, expected, strict=True)) <= FLOAT64


@pytest.mark.parametrize("name", EVERY)
def test_every_tensor_of_the_base_is_known(name: str, tmp_path: Path) -> None:
    checkpoint = save(EVERY[name], tmp_path / "base")
    transform = checkpoint.plan()
    known = {key: tuple(value.shape) for key, value in checkpoint.tensors.items() if not transform.is_buffer(key)}
    assert known == dict(transform.base_tensors)


@pytest.mark.parametrize("name", [name for name in LANGUAGE if not name.startswith("bert")])
def test_generation_with_a_cache(name: str, tmp_path: Path, exact_norms: None) -> None:
    """Left-padded prompts of different lengths, continued greedily with the KV cache: the same tokens."""
    variant: Variant = EVERY[name]
    checkpoint = save(variant, tmp_path / "base")
    transform = checkpoint.plan()
    assert transform.vocabulary is not None
    prompts, attention = ids(3, 9), (torch.arange(9) >= torch.tensor([0, 3, 6])[:, None]).long()
    prompts = torch.where(attention == 1, prompts, 0)
    settings = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    expected = load(variant, checkpoint).generate(
        input_ids=prompts, attention_mask=attention, **settings, **_ids(transform, encrypted=False)
    )
    model = load(variant, encrypt(checkpoint, transform, tmp_path / "encrypted"))
    found = model.generate(
        input_ids=transform.vocabulary.encrypt_ids(prompts),
        attention_mask=attention,
        **settings,
        **_ids(transform, encrypted=True),
    )
    assert torch.equal(transform.vocabulary.decrypt_ids(found), expected)
    assert len(set(expected[:, 9:].flatten().tolist())) > 1


def _ids(transform: Transform, *, encrypted: bool) -> dict[str, int]:
    assert transform.vocabulary is not None
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if not encrypted:
        return special
    return dict(zip(special, transform.vocabulary.encrypt_ids(list(special.values())), strict=True))


_WIDE = {"num_hidden_layers": 2, "vocab_size": 2000, "max_position_embeddings": 64}
REAL_SHAPES = {
    "llama 1B": Variant(
        LlamaForCausalLM,
        {
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "tie_word_embeddings": True,
            **_WIDE,
        },
    ),
    "gpt2-xl": Variant(
        GPT2LMHeadModel, {"n_embd": 1600, "n_head": 25, "n_layer": 2, "vocab_size": 2000, "n_positions": 64}
    ),
    "bert-base": Variant(
        BertForMaskedLM,
        {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, **_WIDE},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", REAL_SHAPES)
def test_real_shapes(name: str, dtype: torch.dtype, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Two layers as wide as real ones, initialised as transformers does, with gains and biases that are not trivial."""
    if dtype == torch.float64:
        request.getfixturevalue("exact_norms")
    variant = REAL_SHAPES[name]
    checkpoint = save(variant, tmp_path / "base", dtype, spread=0.02)
    transform = checkpoint.plan()
    assert transform.vocabulary is not None
    encrypted = encrypt(checkpoint, transform, tmp_path / "encrypted")
    with torch.no_grad():
        expected = load(variant, checkpoint, dtype)(input_ids=ids()).logits
        found = load(variant, encrypted, dtype)(input_ids=transform.vocabulary.encrypt_ids(ids())).logits
    difference = relative(transform.vocabulary.decrypt_logits(found), expected)
    print(f"{name}, {dtype}: {difference:.1e}")
    assert difference <= (FLOAT64 if dtype == torch.float64 else FLOAT32)
