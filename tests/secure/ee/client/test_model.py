"""EncryptedModel beside the plain model: generation, embeddings, classes, split mode, in process and at a server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

import secure
from secure.demo.sample import DOCUMENTS, model_folder
from secure.ee.client.model import EncryptedModel
from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.files.keyfile import write_key
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.parties.encrypted.server import GenerationServer
from secure.parties.encrypted.service import make_generation_certificates
from secure.protocols.core.errors import CheckpointError, ConfigurationError, HandshakeError, InputError
from secure.protocols.equivariant.key import Key
from tests.secure.ee.conftest import SIZE, make_tokenizer, save_llama, shake
from tests.secure.ee.fakes import Relay

TEXT = "the cat sat on"


def prompts() -> Tensor:
    return torch.randint(4, SIZE, (3, 9), generator=torch.Generator().manual_seed(2))


def greedy(model: Any, ids: Tensor, count: int, **options: Any) -> Tensor:
    mask = options.pop("attention_mask", torch.ones_like(ids))
    made: Tensor = model.generate(ids, attention_mask=mask, max_new_tokens=count, do_sample=False, **options)
    return made


@pytest.fixture(scope="module")
def model(encrypted: Path, key: Key) -> EncryptedModel:
    return EncryptedModel.from_pretrained(encrypted, key=key)


@pytest.fixture(scope="module")
def split(base: Path, key: Key, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The server's folder, and the client's."""
    folder = tmp_path_factory.mktemp("split")
    encrypt_checkpoint(base, key, folder / "server", split=folder / "client")
    return folder / "server", folder / "client"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates") / "certs"
    make_generation_certificates(folder, {}, 1)
    return folder


def serving(folder: Path, certificates: Path) -> Iterator[str]:
    server = GenerationServer("127.0.0.1:0", certificates, TransformersEngine(folder))
    port = server.start()
    yield f"127.0.0.1:{port}"
    server.stop()


@pytest.fixture(scope="module")
def address(encrypted: Path, certificates: Path) -> Iterator[str]:
    yield from serving(encrypted, certificates)


@pytest.fixture(scope="module")
def split_address(split: tuple[Path, Path], certificates: Path) -> Iterator[str]:
    yield from serving(split[0], certificates)


def test_it_generates_what_the_plain_model_does(model: EncryptedModel, plain: LlamaForCausalLM) -> None:
    assert torch.equal(model.generate(prompts(), max_new_tokens=20), greedy(plain, prompts(), 20))


def test_padding_on_the_left_as_transformers_takes_it(model: EncryptedModel, plain: LlamaForCausalLM) -> None:
    ids, mask = prompts(), torch.ones(3, 9, dtype=torch.int64)
    ids[1, :4], mask[1, :4] = 0, 0
    found = model.generate(ids, attention_mask=mask, max_new_tokens=10)
    assert torch.equal(found, greedy(plain, ids, 10, attention_mask=mask))


def test_text_in_text_out(model: EncryptedModel, plain: LlamaForCausalLM) -> None:
    tokenizer = make_tokenizer()
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    due = tokenizer.decode(greedy(plain, ids, 20)[0, ids.shape[1] :], skip_special_tokens=True)
    assert model.generate(TEXT, max_new_tokens=20) == TEXT + due
    pieces = list(model.stream(TEXT, max_new_tokens=20))
    assert "".join(pieces) == due and len(pieces) > 3
    stop = due[8:11]
    assert model.generate(TEXT, max_new_tokens=20, stop_strings=[stop]) == TEXT + due[: due.index(stop)]


@pytest.mark.parametrize("fields", [{"num_beams": 3}, {"penalty_alpha": 0.6, "top_k": 4}, {"dola_layers": "low"}])
def test_other_ways_of_searching_are_left_out(
    base: Path, key: Key, tmp_path: Path, plain: LlamaForCausalLM, edit_config: Callable[..., None], fields: Any
) -> None:
    shutil.copytree(base, tmp_path / "base")
    edit_config(tmp_path / "base", "generation_config.json", **fields)
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out")
    model = EncryptedModel.from_pretrained(tmp_path / "out", key=key)
    assert torch.equal(model.generate(prompts(), max_new_tokens=8), greedy(plain, prompts(), 8))


def test_draws_are_repeatable_and_differ_from_the_likeliest(model: EncryptedModel) -> None:
    def draw(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return model.generate(prompts(), max_new_tokens=12, do_sample=True, temperature=1.5, top_p=0.95)

    drawn = [draw(seed) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], model.generate(prompts(), max_new_tokens=12))


def test_hidden_states_are_the_plain_ones(model: EncryptedModel, plain: LlamaForCausalLM) -> None:
    mask = torch.ones(3, 9, dtype=torch.int64)
    mask[2, 6:] = 0
    due = plain.model(prompts(), attention_mask=mask).last_hidden_state.detach() * mask[..., None]
    found = model(prompts(), mask).last_hidden_state
    assert torch.allclose(found, due, atol=2e-5 * float(due.abs().max()))


def test_a_key_file_opens_it_through_the_exported_name(
    encrypted: Path, key: Key, tmp_path: Path, model: EncryptedModel
) -> None:
    write_key(tmp_path / "k", key, "words")
    with secure.EncryptedModel.from_pretrained(encrypted, key=tmp_path / "k", passphrase="words") as opened:
        assert opened.manifest == model.manifest
        assert torch.equal(opened.generate(prompts(), max_new_tokens=3), model.generate(prompts(), max_new_tokens=3))


def test_two_small_files_are_enough_for_a_client(
    encrypted: Path, key: Key, address: str, certificates: Path, model: EncryptedModel, tmp_path: Path
) -> None:
    for name in ("encryption.json", "client.sealed"):
        (tmp_path / name).write_bytes((encrypted / name).read_bytes())
    with EncryptedModel.from_pretrained(tmp_path, key=key, server=address, certificates=certificates) as remote:
        assert torch.equal(remote.generate(prompts(), max_new_tokens=12), model.generate(prompts(), max_new_tokens=12))
        assert list(remote.stream(TEXT, max_new_tokens=9)) == list(model.stream(TEXT, max_new_tokens=9))
        found, due = (each(prompts()).last_hidden_state for each in (remote, model))
        assert torch.allclose(found, due, atol=1e-6)


def test_ids_that_are_wanted_together_travel_together(
    encrypted: Path, key: Key, address: str, certificates: Path, model: EncryptedModel
) -> None:
    relay = Relay(int(address.rpartition(":")[2]))
    ids = prompts()[:1]
    due = model.generate(ids, max_new_tokens=40)
    where = f"127.0.0.1:{relay.port}"
    with EncryptedModel.from_pretrained(encrypted, key=key, server=where, certificates=certificates) as remote:
        received = [len(relay.received)]
        assert torch.equal(remote.generate(ids, max_new_tokens=40), due)
        received.append(len(relay.received))
        list(remote.stream(ids, max_new_tokens=40))
        received.append(len(relay.received))
    relay.close()
    count = due.shape[1] - ids.shape[1]
    assert count > 20
    # 4 bytes a token and the frames of one answer, beside a message, a frame and a TLS record for each token; and with
    # either answer what the server signs of it, with its certificate.
    signed = 1800
    assert received[1] - received[0] < 4 * count + 300 + signed < received[2] - received[1]


def test_a_wrong_key_is_noticed_before_anything_is_sent(
    base: Path, key: Key, address: str, certificates: Path, encrypted: Path, tmp_path: Path
) -> None:
    other = Key(key.secret[::-1])
    with pytest.raises(CheckpointError, match="wrong key"):
        EncryptedModel.from_pretrained(encrypted, key=other, server=address, certificates=certificates)
    # A client whose own files are fine, at a server that has another checkpoint.
    encrypt_checkpoint(base, other, tmp_path / "other")
    with pytest.raises(HandshakeError, match="key check value"):
        EncryptedModel.from_pretrained(tmp_path / "other", key=other, server=address, certificates=certificates)


def test_another_checkpoint_under_the_same_key_is_noticed(
    key: Key, encrypted: Path, address: str, certificates: Path, tmp_path: Path
) -> None:
    save_llama(tmp_path / "base", initializer_range=0.2)
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "other")
    with pytest.raises(CheckpointError, match="the server has another checkpoint"):
        EncryptedModel.from_pretrained(tmp_path / "other", key=key, server=address, certificates=certificates)
    with pytest.raises(CheckpointError, match="has another checkpoint"):
        EncryptedModel.from_pretrained(tmp_path / "other", key=key, server=encrypted)


def test_a_tampered_folder_does_not_run(encrypted: Path, key: Key, tmp_path: Path) -> None:
    for path in encrypted.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"rms_norm_eps": 0.1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json is not the file that was encrypted"):
        EncryptedModel.from_pretrained(tmp_path, key=key)


def test_split_mode_in_this_process(split: tuple[Path, Path], key: Key, plain: LlamaForCausalLM) -> None:
    server, client = split
    model = EncryptedModel.from_pretrained(client, key=key, server=server)
    assert torch.equal(model.generate(prompts(), max_new_tokens=20), greedy(plain, prompts(), 20))
    assert model.manifest.configuration == "split"


def test_split_mode_at_a_server(
    split: tuple[Path, Path], key: Key, split_address: str, certificates: Path, plain: LlamaForCausalLM
) -> None:
    with EncryptedModel.from_pretrained(split[1], key=key, server=split_address, certificates=certificates) as model:
        assert torch.equal(model.generate(prompts(), max_new_tokens=12), greedy(plain, prompts(), 12))
        receipt = model.report.receipt
        assert receipt is not None and len(receipt.sessions) == model.report.sessions == len(prompts())
        receipt.verify(certificates / "authority.crt")
        drawn = []
        for _ in range(2):
            torch.manual_seed(4)
            drawn.append(model.generate(TEXT, max_new_tokens=12, do_sample=True, temperature=1.5, top_p=0.9))
        assert drawn[0] == drawn[1] != model.generate(TEXT, max_new_tokens=12)


def test_split_mode_leaves_the_server_no_ids_and_no_tables(split: tuple[Path, Path]) -> None:
    server, client = split
    config = json.loads((server / "config.json").read_text())
    assert config["vocab_size"] == 1
    assert [config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")] == [None] * 3
    engine = TransformersEngine(server)
    assert engine.served.vocabulary == 0  # it takes no ids
    assert (client.stat().st_mode | (client / "client.safetensors").stat().st_mode) & 0o077 == 0
    assert not (server / "client.safetensors").exists()


def test_split_mode_says_what_it_does_not_do(split: tuple[Path, Path], key: Key) -> None:
    server, client = split
    with pytest.raises(CheckpointError, match="name the other side with server="):
        EncryptedModel.from_pretrained(client, key=key)
    with pytest.raises(CheckpointError, match="layers alone"):
        EncryptedModel.from_pretrained(server, key=key)
    model = EncryptedModel.from_pretrained(client, key=key, server=server)
    for call in (lambda: model(prompts()), lambda: model.encode([TEXT])):
        with pytest.raises(InputError, match="a split checkpoint generates"):
            call()


def test_gpt2_in_whole_and_split(tmp_path: Path, key: Key) -> None:
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=SIZE, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2,
        initializer_range=0.3,
    )  # fmt: skip
    plain = shake(GPT2LMHeadModel(config))
    plain.save_pretrained(tmp_path / "base")
    due = greedy(plain, prompts(), 15)
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "whole")
    whole = EncryptedModel.from_pretrained(tmp_path / "whole", key=key)
    assert torch.equal(whole.generate(prompts(), max_new_tokens=15), due)
    hidden = plain.transformer(prompts()).last_hidden_state.detach()
    assert torch.allclose(whole(prompts()).last_hidden_state, hidden, atol=2e-5 * float(hidden.abs().max()))
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "server", split=tmp_path / "client")
    client = EncryptedModel.from_pretrained(tmp_path / "client", key=key, server=tmp_path / "server")
    assert torch.equal(client.generate(prompts(), max_new_tokens=15), due)


SMALL_BERT: dict[str, Any] = {
    "vocab_size": SIZE, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 37,
    "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip


def test_embeddings(tmp_path: Path, key: Key) -> None:
    torch.manual_seed(1)
    plain = shake(BertModel(BertConfig(**SMALL_BERT)))
    plain.save_pretrained(tmp_path / "base")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path / "base")
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out")
    model = EncryptedModel.from_pretrained(tmp_path / "out", key=key)
    texts = ["the cat sat", "rain is cold and the sun is warm", "a dog"]
    due = [plain(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state.detach()[0] for text in texts]
    for pooling, pooled in (("mean", [row.mean(0) for row in due]), ("first", [row[0] for row in due])):
        found = model.encode(texts, pooling=pooling, batch_size=2)  # type: ignore[arg-type]
        expected = torch.nn.functional.normalize(torch.stack(pooled))
        assert float((found * expected).sum(1).min()) > 0.999999
    with pytest.raises(InputError, match="sentence 1 is empty"):
        model.encode(["good", " "])
    with pytest.raises(InputError, match="does not generate"):
        model.generate(prompts(), max_new_tokens=1)


def test_embeddings_of_a_real_model(tmp_path: Path, key: Key) -> None:
    encrypt_checkpoint(model_folder(), key, tmp_path / "out")
    found = EncryptedModel.from_pretrained(tmp_path / "out", key=key).encode(DOCUMENTS)
    plain, tokenizer = (
        BertModel.from_pretrained(model_folder()).eval(),
        BertTokenizerFast.from_pretrained(model_folder()),
    )
    with torch.inference_mode():
        rows = [plain(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in DOCUMENTS]
    due = torch.nn.functional.normalize(torch.stack(rows))
    assert float((found * due).sum(1).min()) > 0.999999


def test_classification(tmp_path: Path, key: Key) -> None:
    torch.manual_seed(1)
    names = {0: "spam", 1: "ham", 2: "eggs"}
    config = BertConfig(**SMALL_BERT, id2label=names, label2id={name: i for i, name in names.items()})
    plain = shake(BertForSequenceClassification(config))
    plain.save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out")
    assert b"spam" not in (tmp_path / "out" / "config.json").read_bytes()
    model = EncryptedModel.from_pretrained(tmp_path / "out", key=key)
    types = torch.zeros_like(prompts())
    types[:, 5:] = 1
    due = plain(prompts(), token_type_ids=types).logits.detach()
    found = model(prompts(), token_type_ids=types).logits
    assert torch.allclose(found, due, atol=2e-5 * float(due.abs().max()))
    text = plain(torch.tensor([make_tokenizer()(TEXT)["input_ids"]])).logits.detach()
    assert model.tokenizer is not None
    assert torch.allclose(
        model(**model.tokenizer([TEXT], return_tensors="pt")).logits, text, atol=2e-5 * float(due.abs().max())
    )
    assert model.id2label == names


def test_images(tmp_path: Path, key: Key) -> None:
    torch.manual_seed(1)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=16, patch_size=4,
        num_labels=5, initializer_range=0.2,
    )  # fmt: skip
    plain = shake(ViTForImageClassification(config))
    plain.save_pretrained(tmp_path / "base")
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out")
    model = EncryptedModel.from_pretrained(tmp_path / "out", key=key)
    images = torch.rand(2, 3, 16, 16)
    due = plain(images).logits.detach()
    found = model(pixel_values=images).logits
    assert torch.allclose(found, due, atol=1e-4 * float(due.abs().max()))
    with pytest.raises(InputError, match="one of them"):
        model()
    with pytest.raises(InputError, match="floating-point"):
        model(pixel_values=images.int())


def test_mistakes_are_told_before_anything_runs(model: EncryptedModel, encrypted: Path, key: Key) -> None:
    for ids, mask, words in (
        (prompts().float(), None, "integer tensor"),
        (prompts()[0], None, r"shape \[batch, tokens\]"),
        (prompts() + SIZE, None, "outside the vocabulary"),
        (prompts(), torch.ones(3, 8), "shape of the ids"),
        (prompts(), torch.tensor([[1, 0, 1, 1, 1, 1, 1, 1, 1]] * 3), "one run of tokens"),
        (prompts(), torch.zeros(3, 9), "one run of tokens"),
    ):
        with pytest.raises(InputError, match=words):
            model.generate(ids, attention_mask=mask, max_new_tokens=2)
    with pytest.raises(InputError, match="has room for 64 together"):
        model.generate(prompts(), max_new_tokens=60)
    with pytest.raises(InputError, match="temperature"):
        model.generate(TEXT, max_new_tokens=2, do_sample=True, temperature=-1)
    with pytest.raises(InputError, match="prompt is empty"):
        model.generate(torch.empty(1, 0, dtype=torch.int64), max_new_tokens=2)
    with pytest.raises(ConfigurationError, match="needs certificates"):
        EncryptedModel.from_pretrained(encrypted, key=key, server="example.org:7110")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        EncryptedModel.from_pretrained(encrypted, key="no-such.key")


def test_without_a_tokenizer_ids_still_work(tmp_path: Path, base: Path, key: Key, plain: LlamaForCausalLM) -> None:
    (tmp_path / "base").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "base" / name).write_bytes((base / name).read_bytes())
    encrypt_checkpoint(tmp_path / "base", key, tmp_path / "out")
    model = EncryptedModel.from_pretrained(tmp_path / "out", key=key)
    assert torch.equal(model.generate(prompts(), max_new_tokens=5), greedy(plain, prompts(), 5))
    with pytest.raises(CheckpointError, match="encrypted without a tokenizer"):
        model.generate(TEXT, max_new_tokens=2)
