"""Checkpoints encrypted, decrypted, rekeyed: what unmodified transformers makes of them, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
)

from secure.ee.files import writer
from secure.ee.files.checkpoint import open_checkpoint
from secure.ee.files.folder import TensorFolder
from secure.ee.files.manifest import read_manifest
from secure.ee.owner.decrypt import decrypt_checkpoint, rekey_checkpoint
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.ee.owner.verify import verify_checkpoint
from secure.protocols.core.errors import CheckpointError, ConfigurationError
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.key import Key
from tests.secure.ee.conftest import SIZE, save_llama, shake


def load(folder: Path, **options: Any) -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(folder, **options).eval()


def logits(model: Any, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(ids).logits


def prompts(rows: int = 3) -> Tensor:
    return torch.randint(4, SIZE, (rows, 9), generator=torch.Generator().manual_seed(2))


def vocabulary_of(folder: Path, key: Key) -> Vocabulary:
    vocabulary = open_checkpoint(folder, key).vocabulary
    assert vocabulary is not None
    return vocabulary


def relative(found: Tensor, due: Tensor) -> float:
    return float((found - due).abs().max() / due.abs().max())


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # transformers' RMSNorm and rotation compute in float32, whatever the model's type: float64 gains little here.
    [(torch.float64, 2e-6), (torch.float32, 2e-5), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)],
)
def test_unmodified_transformers_gives_the_same_logits(
    tmp_path: Path, key: Key, dtype: torch.dtype, tolerance: float
) -> None:
    plain = save_llama(tmp_path / "base", dtype)
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out")
    model, vocabulary = load(tmp_path / "out", dtype="auto"), vocabulary_of(tmp_path / "out", key)
    assert model.dtype == dtype
    found = vocabulary.decrypt_logits(logits(model, vocabulary.encrypt_ids(prompts())))
    assert relative(found, logits(plain, prompts())) < tolerance


def test_generate_gives_the_same_tokens_and_stops_where_the_base_does(
    encrypted: Path, plain: LlamaForCausalLM, key: Key
) -> None:
    model, vocabulary = load(encrypted), vocabulary_of(encrypted, key)
    settings: dict[str, Any] = {"max_new_tokens": 30, "do_sample": False}
    mask = torch.ones_like(prompts())
    due = plain.generate(prompts(), attention_mask=mask, **settings)
    found = model.generate(vocabulary.encrypt_ids(prompts()), attention_mask=mask, **settings)
    assert torch.equal(vocabulary.decrypt_ids(found), due)
    # The likeliest next token as end of text: both stop there, by their own configurations.
    stop = int(due[0, 12])
    plain.generation_config.eos_token_id, model.generation_config.eos_token_id = stop, vocabulary.encrypt_ids([stop])[0]
    try:
        short = plain.generate(prompts(1), attention_mask=mask[:1], **settings)
        assert short.shape[1] <= 13
        found = model.generate(vocabulary.encrypt_ids(prompts(1)), attention_mask=mask[:1], **settings)
        assert torch.equal(vocabulary.decrypt_ids(found), short)
    finally:
        plain.generation_config.eos_token_id = 2


def test_generation_settings_with_ids_do_what_the_base_does(tmp_path: Path, base: Path, key: Key) -> None:
    shutil.copytree(base, tmp_path / "base")
    plain = load(tmp_path / "base")
    free = plain.generate(prompts(1), max_new_tokens=8, do_sample=False, attention_mask=torch.ones(1, 9))[
        0, 9:
    ].tolist()
    settings = GenerationConfig(
        eos_token_id=2,
        pad_token_id=0,
        suppress_tokens=[free[0]],
        bad_words_ids=[[free[1]], [4, 5]],
        sequence_bias=[[[7], 3.5]],
        forced_eos_token_id=2,
    )
    settings.save_pretrained(tmp_path / "base")
    plain = load(tmp_path / "base")
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out")
    model, vocabulary = load(tmp_path / "out"), vocabulary_of(tmp_path / "out", key)
    options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones(1, 9)}
    due = plain.generate(prompts(1), **options)
    assert due[0, 9:].tolist() != free
    assert int(due[0, -1]) == 2
    assert torch.equal(vocabulary.decrypt_ids(model.generate(vocabulary.encrypt_ids(prompts(1)), **options)), due)


def test_ids_left_to_the_class_move_too(tmp_path: Path, key: Key, edit_config: Callable[..., None]) -> None:
    save_llama(tmp_path / "base")
    edit_config(tmp_path / "base", bos_token_id=None, eos_token_id=None, pad_token_id=None)
    (tmp_path / "base" / "generation_config.json").unlink()
    assert load(tmp_path / "base").config.eos_token_id == 2
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out")
    config, vocabulary = load(tmp_path / "out").config, vocabulary_of(tmp_path / "out", key)
    assert [config.bos_token_id, config.eos_token_id] == vocabulary.encrypt_ids([1, 2])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("shard_bytes", [1 << 30, 20_000])
def test_sharded_and_tied_checkpoints(tmp_path: Path, key: Key, tied: bool, shard_bytes: int) -> None:
    plain = save_llama(tmp_path / "base", tie_word_embeddings=tied)
    plain.save_pretrained(tmp_path / "base", max_shard_size=shard_bytes)
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out", shard_bytes=shard_bytes)
    assert (len(TensorFolder(tmp_path / "out").files) > 1) == (shard_bytes == 20_000)
    model, vocabulary = load(tmp_path / "out"), vocabulary_of(tmp_path / "out", key)
    found = vocabulary.decrypt_logits(logits(model, vocabulary.encrypt_ids(prompts())))
    assert relative(found, logits(plain, prompts())) < 2e-5
    decrypt_checkpoint(tmp_path / "out", key, tmp_path / "back", shard_bytes=shard_bytes)
    back = load(tmp_path / "back")
    assert back.config.tie_word_embeddings == tied
    assert relative(logits(back, prompts()), logits(plain, prompts())) < 2e-5


@pytest.mark.parametrize(
    "options",
    [{"permutations": True}, {"factors": ("vocabulary", "heads")}, {"factors": ("vocabulary",), "keep_tie": True}],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_permutations_keep_every_bit(tmp_path: Path, key: Key, options: dict[str, Any], dtype: torch.dtype) -> None:
    save_llama(tmp_path / "base", dtype)
    manifest = encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out", **options)
    assert manifest.configuration == "permutation"
    assert decrypt_checkpoint(tmp_path / "out", key, tmp_path / "back").same_bits
    due, found = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "back"))
    assert due.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) and found[name].dtype == dtype for name, tensor in due.items())
    assert (tmp_path / "back" / "config.json").read_bytes() == (tmp_path / "base" / "config.json").read_bytes()
    assert (tmp_path / "back" / "tokenizer.json").read_bytes() == (tmp_path / "base" / "tokenizer.json").read_bytes()


def test_rekeying_moves_rows_and_ids_and_nothing_else(
    encrypted: Path, plain: LlamaForCausalLM, key: Key, tmp_path: Path
) -> None:
    new_key, manifest = rekey_checkpoint(encrypted, key, tmp_path / "new")
    assert (new_key.secret, new_key.epoch) == (key.secret, key.epoch + 1)
    assert manifest == read_manifest(tmp_path / "new")
    before, after = (load_file(folder / "model.safetensors") for folder in (encrypted, tmp_path / "new"))
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed == {"model.embed_tokens.weight", "lm_head.weight"}
    # As documented: who keeps both folders aligns the rows, because each keeps its values.
    for name in changed:
        assert {row.numpy().tobytes() for row in before[name]} == {row.numpy().tobytes() for row in after[name]}
    model, vocabulary = load(tmp_path / "new"), vocabulary_of(tmp_path / "new", new_key)
    assert model.config.eos_token_id == vocabulary.encrypt_ids([2])[0]
    found = vocabulary.decrypt_logits(logits(model, vocabulary.encrypt_ids(prompts())))
    assert relative(found, logits(plain, prompts())) < 2e-5
    with pytest.raises(CheckpointError, match=r"its epoch is 1, the key's is 0"):
        open_checkpoint(tmp_path / "new", key)
    with pytest.raises(CheckpointError, match="wrong key"):
        open_checkpoint(encrypted, new_key)


def test_rekeying_copies_the_files_that_have_no_table(base: Path, key: Key, tmp_path: Path) -> None:
    encrypt_checkpoint(base, key, tmp_path / "out", shard_bytes=20_000)
    _, manifest = rekey_checkpoint(tmp_path / "out", key, tmp_path / "new")
    manifest.check_files(tmp_path / "new")
    before = read_manifest(tmp_path / "out").files
    same = {name for name in before if before[name] == manifest.files[name]}
    assert {"client.sealed", "model.safetensors.index.json"} < same
    assert len(before) - len(same) == 4  # two files with tables, two configurations


def test_nothing_in_the_folder_tells_the_key_or_the_base(encrypted: Path, base: Path, key: Key) -> None:
    everything = b"".join(path.read_bytes() for path in encrypted.iterdir())
    assert key.secret not in everything and key.secret.hex().encode() not in everything
    config = json.loads((encrypted / "config.json").read_text())
    assert "_name_or_path" not in config
    assert str(base).encode() not in everything


def test_a_type_can_be_chosen(base: Path, key: Key, tmp_path: Path) -> None:
    manifest = encrypt_checkpoint(base, key, tmp_path / "out", dtype=torch.bfloat16)
    assert manifest.dtype == "BF16"
    assert load(tmp_path / "out", dtype="auto").dtype == torch.bfloat16


def test_noise_changes_the_model_and_says_so(base: Path, plain: LlamaForCausalLM, key: Key, tmp_path: Path) -> None:
    assert encrypt_checkpoint(base, key, tmp_path / "out", noise=0.001).noise == 0.001
    model, vocabulary = load(tmp_path / "out"), vocabulary_of(tmp_path / "out", key)
    found = vocabulary.decrypt_logits(logits(model, vocabulary.encrypt_ids(prompts())))
    assert 1e-3 < relative(found, logits(plain, prompts())) < 0.3


def test_names_without_the_bodys_prefix_are_those_of_published_gpt2(tmp_path: Path, key: Key) -> None:
    torch.manual_seed(5)
    config = GPT2Config(vocab_size=SIZE, n_embd=32, n_layer=1, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2)
    plain = shake(GPT2LMHeadModel(config))
    plain.save_pretrained(tmp_path / "base")
    path = tmp_path / "base" / "model.safetensors"
    named = {name.removeprefix("transformer."): tensor for name, tensor in load_file(path).items()}
    assert "wte.weight" in named
    # Old files hold the causal mask as well.
    save_file(named | {"h.0.attn.bias": torch.ones(1, 1, 64, 64)}, path, {"format": "pt"})
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out")
    assert verify_checkpoint(tmp_path / "out", key=key, base=tmp_path / "base")
    vocabulary, ids = vocabulary_of(tmp_path / "out", key), prompts()
    found = logits(load(tmp_path / "out"), vocabulary.encrypt_ids(ids))
    assert relative(vocabulary.decrypt_logits(found), logits(plain, ids)) <= 2e-5


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """A base that a test may spoil."""
    return shutil.copytree(base, tmp_path / "copy")


def refused(copy: Path, key: Key, words: str, kind: type[Exception] = CheckpointError, **options: Any) -> None:
    out = copy.parent / "refused"
    with pytest.raises(kind, match=words):
        encrypt_checkpoint(copy, key, out, **options)
    assert not out.exists()
    assert {path.name for path in copy.parent.iterdir()} <= {"copy", "red_team.json"}


def test_quantised_checkpoints_are_refused(copy: Path, key: Key, edit_config: Callable[..., None]) -> None:
    edit_config(copy, quantization_config=BitsAndBytesConfig(load_in_8bit=True).to_dict())
    refused(copy, key, "quantise")


def test_unknown_architectures_are_refused(copy: Path, key: Key, edit_config: Callable[..., None]) -> None:
    edit_config(copy, architectures=["MysteryForCausalLM"])
    refused(copy, key, "MysteryForCausalLM")


def test_a_tokenizer_of_another_model_is_refused(copy: Path, key: Key) -> None:
    document = json.loads((copy / "tokenizer.json").read_text())
    document["model"]["vocab"]["surplus"] = SIZE
    (copy / "tokenizer.json").write_text(json.dumps(document))
    refused(copy, key, f"ids up to {SIZE}, the model's vocabulary ends at {SIZE - 1}")


def test_a_tokenizer_of_older_files_is_counted_too(copy: Path, key: Key) -> None:
    (copy / "tokenizer.json").unlink()
    words = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *(f"word{i}" for i in range(SIZE))]
    (copy / "vocab.txt").write_text("\n".join(words) + "\n")
    (copy / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    refused(copy, key, f"ids up to {SIZE + 4}, the model's vocabulary ends at {SIZE - 1}")


def test_an_id_that_cannot_be_moved_is_told_by_file_before_tensors_are_computed(
    copy: Path, key: Key, edit_config: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*_: object, **__: object) -> None:
        raise AssertionError("a tensor was computed")

    monkeypatch.setattr(writer, "write_tensors", computed)
    edit_config(copy, "generation_config.json", eos_token_id=SIZE)
    refused(copy, key, f"generation_config.json: eos_token_id has id {SIZE}")


def test_missing_surplus_and_misshapen_tensors_are_named(copy: Path, key: Key) -> None:
    path = copy / "model.safetensors"
    whole = load_file(path)
    name = "model.layers.1.mlp.up_proj.weight"
    spoiled = {
        f"no tensor '{name}'": {k: v for k, v in whole.items() if k != name},
        "example 'model.layers.0.extra.weight'": whole | {"model.layers.0.extra.weight": torch.zeros(3)},
        f"'{name}' has shape": whole | {name: torch.zeros(3, 4)},
    }
    for words, tensors in spoiled.items():
        save_file(tensors, path, metadata={"format": "pt"})
        refused(copy, key, words)


def test_a_stored_head_that_is_the_tied_one_is_left_out(tmp_path: Path, key: Key) -> None:
    save_llama(tmp_path / "copy", tie_word_embeddings=True)
    path = tmp_path / "copy" / "model.safetensors"
    tensors = load_file(path)
    head = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors | {"lm_head.weight": head}, path, metadata={"format": "pt"})
    encrypt_checkpoint(tmp_path / "copy", key, tmp_path / "out", keep_tie=True)
    assert "lm_head.weight" not in load_file(tmp_path / "out" / "model.safetensors")


def test_split_mode_is_for_models_that_generate(copy: Path, key: Key, edit_config: Callable[..., None]) -> None:
    edit_config(copy, architectures=["LlamaModel"])
    refused(copy, key, "does not generate", split=copy.parent / "client")
    edit_config(copy, architectures=["LlamaForCausalLM"])
    # Without it the tables would lie at the server, in the base's order.
    refused(
        copy, key, "needs the factor vocabulary", ConfigurationError, split=copy.parent / "c", factors=("residual",)
    )


def test_values_that_are_not_finite_are_refused(copy: Path, key: Key) -> None:
    path = copy / "model.safetensors"
    tensors = load_file(path)
    tensors["model.embed_tokens.weight"][3, 4] = torch.nan
    save_file(tensors, path, metadata={"format": "pt"})
    refused(copy, key, "is not finite")


def test_other_folders_are_refused(encrypted: Path, base: Path, key: Key, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is encrypted already"):
        encrypt_checkpoint(encrypted, key, tmp_path / "out")
    with pytest.raises(CheckpointError, match="is no folder"):
        encrypt_checkpoint(tmp_path / "none", key, tmp_path / "out")
    with pytest.raises(CheckpointError, match="is no encrypted checkpoint"):
        decrypt_checkpoint(base, key, tmp_path / "out")
    with pytest.raises(ConfigurationError, match="is not empty"):
        encrypt_checkpoint(base, key, encrypted)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_encryption_leaves_nothing(base: Path, key: Key, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what == "model.norm.weight":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encrypt_checkpoint(base, key, tmp_path / "out", split=tmp_path / "client", progress=interrupt)
    assert list(tmp_path.iterdir()) == []
