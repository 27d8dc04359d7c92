"""Plans: permutation-only keys keep bits, rekeying, noise, the split mode's basis, types of checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.protocols.core.errors import CheckpointError, ConfigurationError, InputError
from secure.protocols.equivariant import FACTORS, Key, plan
from secure.protocols.equivariant.families.gpt2 import GPT2
from tests.protocols.equivariant.tiny import EVERY, KEY, LANGUAGE, encrypt, ids, load, relative, save

BIT_FOR_BIT: list[tuple[str, dict[str, Any]]] = [
    *((name, {"permutations": True}) for name in EVERY),
    *((name, {"factors": ("vocabulary", "heads")}) for name in ("llama tied", "gpt2", "bert words")),
]


def bits(tensor: Tensor) -> list[int]:
    return sorted(tensor.flatten().contiguous().view(torch.int16).tolist())


@pytest.mark.parametrize(("name", "options"), BIT_FOR_BIT)
def test_permutations_keep_every_value(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Each tensor is the base's in another order, and decrypts to the base's very bits, negative zeros included."""
    checkpoint = save(EVERY[name], tmp_path / "base", torch.bfloat16)
    for tensor in checkpoint.tensors.values():
        if tensor.is_floating_point():
            tensor.flatten()[:1].mul_(-0.0)
    transform = checkpoint.plan(**options)
    assert not transform.config_changes
    encrypted = {}
    for key in transform.tensors:
        base = checkpoint.tensors[key]
        encrypted[key] = transform.encrypt(key, checkpoint.tensors.__getitem__).to(base.dtype)
        if base.is_floating_point():
            assert bits(encrypted[key]) == bits(base)
    moved = [key for key, value in encrypted.items() if not torch.equal(value, checkpoint.tensors[key])]
    assert moved
    for key in transform.base_tensors:
        base = checkpoint.tensors[key]
        back = transform.decrypt(key, encrypted.__getitem__).to(base.dtype)
        assert torch.equal(back.reshape(-1).view(torch.int16), base.reshape(-1).view(torch.int16)), key


def test_full_keys_leave_no_value_in_place(tmp_path: Path) -> None:
    checkpoint = save(EVERY["llama biases"], tmp_path / "base", torch.float32)
    transform = checkpoint.plan()
    for key in transform.tensors:
        values = set(checkpoint.tensors[key].flatten().tolist())
        encrypted = transform.encrypt(key, checkpoint.tensors.__getitem__).float().flatten().tolist()
        # The gate's bias, which may only change its order, keeps its values.
        assert key.endswith("gate_proj.bias") == (set(encrypted) == values)


@pytest.mark.parametrize("name", ["llama", "llama tied", "gpt2", "bert words untied"])
def test_rekeying_is_encrypting_at_the_next_epoch(name: str, tmp_path: Path) -> None:
    checkpoint = save(EVERY[name], tmp_path / "base")
    before, after = checkpoint.plan(), checkpoint.plan(KEY.rekeyed())
    source = checkpoint.tensors.__getitem__
    encrypted = {key: before.encrypt(key, source) for key in before.tensors}
    changed = 0
    for key in before.tensors:
        moved, due = before.rekey(key, encrypted.__getitem__, after), after.encrypt(key, source)
        # The same rows; the last bit of a product may depend on the row's place.
        assert torch.allclose(moved, due, rtol=0, atol=1e-14)
        assert bits(moved) == bits(encrypted[key])
        changed += not torch.equal(moved, encrypted[key])
    assert 1 <= changed <= 4


def test_rekeying_to_another_key_is_refused(tmp_path: Path) -> None:
    checkpoint = save(EVERY["llama"], tmp_path / "base")
    with pytest.raises(ConfigurationError, match="one key and one checkpoint"):
        checkpoint.plan().rekey("model.norm.weight", checkpoint.tensors.__getitem__, checkpoint.plan(Key(bytes(32))))


def test_noise_is_relative_and_the_same_at_every_epoch(tmp_path: Path) -> None:
    checkpoint = save(EVERY["llama tied"], tmp_path / "base")
    source, name = checkpoint.tensors.__getitem__, "model.layers.0.mlp.gate_proj.weight"
    clean, noisy = checkpoint.plan(), checkpoint.plan(noise=0.1)
    difference = clean.decrypt(name, lambda key: noisy.encrypt(key, source)) - clean.decrypt(
        name, lambda key: clean.encrypt(key, source)
    )
    # The gain is folded; it multiplies the noise too.
    gain = checkpoint.tensors["model.layers.0.post_attention_layernorm.weight"]
    level = float((difference / gain).std() / checkpoint.tensors[name].square().mean().sqrt())
    assert level == pytest.approx(0.1, rel=0.1)
    later = checkpoint.plan(KEY.rekeyed(), noise=0.1)
    embedding = "model.embed_tokens.weight"
    rows = [plan.decrypt(embedding, lambda key, plan=plan: plan.encrypt(key, source)) for plan in (noisy, later)]  # type: ignore[misc]
    assert torch.allclose(rows[0], rows[1], rtol=0, atol=1e-12)
    assert not torch.allclose(rows[0], checkpoint.tensors[embedding], rtol=0, atol=1e-3)
    gains = noisy.decrypt("model.norm.weight", lambda key: noisy.encrypt(key, source))
    assert torch.allclose(gains, checkpoint.tensors["model.norm.weight"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("noise", [-0.1, 1.5, float("nan")])
def test_noise_out_of_range_is_refused(noise: float) -> None:
    with pytest.raises(ConfigurationError, match="noise"):
        plan(GPT2, {}, KEY, noise=noise)


@pytest.mark.parametrize("name", ["llama", "llama tied", "gpt2", "bert words"])
def test_split_mode(name: str, tmp_path: Path, exact_norms: None) -> None:
    """The client keeps embedding and head: it sends vectors in the encrypted basis, and gets such vectors back."""
    checkpoint, variant = save(EVERY[name], tmp_path / "base"), EVERY[name]
    transform = checkpoint.plan()
    assert transform.vocabulary is not None
    encrypted = encrypt(checkpoint, transform, tmp_path / "encrypted")
    base, model = load(variant, checkpoint), load(variant, encrypted)
    with torch.no_grad():
        vectors = transform.embed_basis(base.get_input_embeddings()(ids()))
        assert torch.allclose(
            vectors, model.get_input_embeddings()(transform.vocabulary.encrypt_ids(ids())), rtol=0, atol=1e-12
        )
        logits = transform.vocabulary.decrypt_logits(model(inputs_embeds=vectors).logits)
        assert relative(logits, base(input_ids=ids()).logits) <= 1e-10
    assert torch.allclose(transform.unembed(vectors), base.get_input_embeddings()(ids()), rtol=0, atol=1e-12)
    assert transform.unembed(vectors.float()).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_checkpoints_of_each_type_are_computed_in_float64(dtype: torch.dtype, tmp_path: Path) -> None:
    checkpoint = save(EVERY["llama"], tmp_path / "base", dtype)
    transform = checkpoint.plan()
    for key in transform.tensors:
        encrypted = transform.encrypt(key, checkpoint.tensors.__getitem__)
        assert encrypted.dtype == torch.float64
        exact = transform.encrypt(key, lambda name: checkpoint.tensors[name].double())
        assert torch.equal(encrypted, exact)


def test_the_base_is_not_changed(tmp_path: Path) -> None:
    checkpoint = save(EVERY["gpt2"], tmp_path / "base")
    before = {key: value.clone() for key, value in checkpoint.tensors.items()}
    transform = checkpoint.plan()
    encrypted = {key: transform.encrypt(key, checkpoint.tensors.__getitem__) for key in transform.tensors}
    kept = {key: value.clone() for key, value in encrypted.items()}
    for key in transform.base_tensors:
        transform.decrypt(key, encrypted.__getitem__)
    assert all(torch.equal(checkpoint.tensors[key], value) for key, value in before.items())
    assert all(torch.equal(encrypted[key], value) for key, value in kept.items())


def test_tensors_read_no_more_than_they_need(tmp_path: Path) -> None:
    checkpoint = save(EVERY["llama tied"], tmp_path / "base")
    transform = checkpoint.plan()

    def read(name: str) -> list[str]:
        asked: list[str] = []

        def source(key: str) -> Tensor:
            asked.append(key)
            return checkpoint.tensors[key]

        transform.encrypt(name, source)
        return asked

    assert read("lm_head.weight") == ["model.embed_tokens.weight", "model.norm.weight"]
    assert read("model.norm.weight") == []
    assert read("model.layers.1.self_attn.o_proj.weight") == ["model.layers.1.self_attn.o_proj.weight"]


def test_wrong_keys_do_not_decrypt(tmp_path: Path) -> None:
    checkpoint = save(EVERY["llama"], tmp_path / "base")
    transform, other = checkpoint.plan(), checkpoint.plan(Key(bytes(32)))
    name = "model.embed_tokens.weight"
    encrypted = {name: transform.encrypt(name, checkpoint.tensors.__getitem__)}
    assert relative(other.decrypt(name, encrypted.__getitem__), checkpoint.tensors[name]) > 0.5


@pytest.mark.parametrize("name", ["vit", "resnet basic"])
def test_images_of_another_size_are_refused(name: str, tmp_path: Path) -> None:
    transform = save(EVERY[name], tmp_path / "base").plan()
    with pytest.raises(InputError, match="pixel values"):
        transform.encrypt_pixels(torch.zeros(1, 2, 12, 12))
    if name == "vit":
        with pytest.raises(InputError, match=r"takes \[B, 3, 12, 12\]"):
            transform.encrypt_pixels(torch.zeros(1, 3, 16, 12))


def test_misshapen_missing_and_quantised_tensors_are_refused(tmp_path: Path) -> None:
    checkpoint = save(EVERY["llama"], tmp_path / "base")
    transform, name = checkpoint.plan(), "model.embed_tokens.weight"
    with pytest.raises(CheckpointError, match=r"embed_tokens.weight has shape \[60, 32\]; .* \[61, 32\]"):
        transform.encrypt(name, lambda key: checkpoint.tensors[key][:60])
    with pytest.raises(CheckpointError, match=r"holds int8; .* then quantise"):
        transform.encrypt(name, lambda key: checkpoint.tensors[key].to(torch.int8))
    with pytest.raises(CheckpointError, match=r"no model\.other"):
        transform.encrypt("model.other", checkpoint.tensors.__getitem__)
    with pytest.raises(CheckpointError, match=r"no tensor model\.other"):
        transform.decrypt("model.other", checkpoint.tensors.__getitem__)


def test_a_final_gain_of_zero_cannot_be_folded_without_a_bias(tmp_path: Path) -> None:
    checkpoint = save(EVERY["gpt2"], tmp_path / "base")
    checkpoint.tensors["transformer.ln_f.weight"][3] = 0.0
    with pytest.raises(CheckpointError, match=r"ln_f\.weight is 0 or nearly so"):
        checkpoint.plan().encrypt("transformer.ln_f.bias", checkpoint.tensors.__getitem__)


def test_buffers_of_older_files_are_known(tmp_path: Path) -> None:
    transform = save(EVERY["bert body"], tmp_path / "base").plan()
    assert transform.is_buffer("embeddings.position_ids")
    assert not transform.is_buffer("embeddings.word_embeddings.weight")


@pytest.mark.parametrize("name", LANGUAGE)
def test_factors_are_listed_in_order(name: str, tmp_path: Path) -> None:
    checkpoint = save(EVERY[name], tmp_path / "base")
    assert checkpoint.plan().factors == FACTORS[:6]
    assert checkpoint.plan(factors=["ffn", "vocabulary", "ffn"]).factors == ("vocabulary", "ffn")
    assert checkpoint.plan(factors=["ffn"]).vocabulary is None


def test_qk_passes_the_norms_of_heads(tmp_path: Path) -> None:
    """Of W_Q it exchanges and negates columns, the same in every head but for the sign; gains take the scales."""
    checkpoint = save(EVERY["qwen3"], tmp_path / "base")
    transform = checkpoint.plan(factors=("qk",))
    prefix, base = "model.layers.0.self_attn", checkpoint.tensors
    queries, keys = (base[f"{prefix}.{x}_norm.weight"] for x in "qk")
    new_queries, new_keys = (transform.encrypt(f"{prefix}.{x}_norm.weight", base.__getitem__) for x in "qk")
    order = (new_queries * new_keys)[:, None].sub(queries * keys).abs().argmin(-1)
    pairs = torch.stack((order[:6], order[6:]))
    assert torch.equal(pairs.sort(0).values, torch.arange(12).reshape(2, 6))
    assert bool((pairs[0] < 6).any()) and bool((pairs[0] >= 6).any())
    assert float((new_queries / queries[order] * (new_keys / keys[order]) - 1).abs().max()) < 1e-12
    assert float((new_queries / queries[order]).log().abs().min()) > 1e-3
    for name, heads in (("q_proj", 4), ("k_proj", 2)):
        found = transform.encrypt(f"{prefix}.{name}.weight", base.__getitem__).reshape(heads, 12, -1)
        ratio = found / base[f"{prefix}.{name}.weight"].reshape(heads, 12, -1)[:, order]
        assert torch.equal(ratio.abs(), torch.ones_like(ratio))
        assert bool((ratio < 0).any()) and bool((ratio > 0).any())
