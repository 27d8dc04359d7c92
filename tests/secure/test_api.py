"""The Python API, with the real protocol in this process and no sockets."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from secure.api import PrivateModel
from secure.connection import Parties
from secure.models.checkpoint.conversion import CLIENT_NAME, read_checkpoint, split_checkpoint
from secure.protocols.core.errors import CheckpointError, InputError, PartyLost, PartyUnreachable
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.split import split
from secure.tokens import load_tokenizer
from tests.models.runs import clear_run
from tests.secure.conftest import MOST_TOKENS, VOCABULARY, plain_embeddings, plain_outputs
from tests.secure.fakes import InProcessClient

HIDDEN_ERROR = 5e-3


@pytest.fixture
def model(checkpoint: Path, parties: Parties) -> PrivateModel:
    return PrivateModel.from_pretrained(checkpoint, parties=parties)


@pytest.mark.parametrize("weights", ["private", "public", "server"])
def test_call_agrees_with_transformers(checkpoint: Path, parties: Parties, reference: Any, weights: Any) -> None:
    model = PrivateModel.from_pretrained(checkpoint, parties=parties, weights=weights)
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(0, len(VOCABULARY), (2, 7), generator=generator)
    types = torch.randint(0, 2, (2, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    ours = model(input_ids=ids, attention_mask=mask, token_type_ids=types)
    theirs = plain_outputs(reference, ids, mask, types)
    difference = (ours.last_hidden_state - theirs.last_hidden_state)[mask.bool()].abs().max()
    assert float(difference) < HIDDEN_ERROR
    assert float((ours.pooler_output - theirs.pooler_output).abs().max()) < HIDDEN_ERROR
    assert ours[0] is ours.last_hidden_state
    assert ours.last_hidden_state.dtype == torch.float32


def test_a_policy_chooses_the_functions(checkpoint: Path, parties: Parties) -> None:
    policy = FixedPointPolicy(functions="puma", truncation="exact")
    model = PrivateModel.from_pretrained(checkpoint, parties=parties, policy=policy)
    assert model.manifest.policy == policy
    inputs = {"input_ids": torch.randint(0, len(VOCABULARY), (2, 7), generator=torch.Generator().manual_seed(5))}
    found = model(**inputs).last_hidden_state
    due, ours = (
        clear_run(read_checkpoint(checkpoint, policy=chosen), "hidden", inputs)["last_hidden_state"]
        for chosen in (policy, None)
    )
    assert float((found - due).abs().max()) < 1e-3
    assert float((ours - due).abs().max()) > 2e-3


def test_encode_keeps_the_order_across_batches(
    checkpoint: Path, model: PrivateModel, client: InProcessClient, reference: Any
) -> None:
    sentences = ["the cat sat on the mat.", "rain", "a dog is warm", "É", "the sun is warm. the rain is cold.", "cats"]
    ours = model.encode(sentences, batch_size=2)
    theirs = plain_embeddings(reference, load_tokenizer(checkpoint), sentences)
    assert ours.shape == (6, 24)
    assert ours.dtype == torch.float32
    assert float((ours - theirs).abs().max()) < HIDDEN_ERROR
    assert [(request.batch, request.output) for request in client.requests] == [(2, "embedding")] * 3
    lengths = [request.tokens for request in client.requests]
    assert lengths == sorted(lengths)
    assert model.report.sessions == 3
    assert model.report.sequences == 6


def test_report_before_a_prediction_is_an_error(model: PrivateModel) -> None:
    with pytest.raises(InputError, match="no report yet"):
        _ = model.report


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ([], "no sentences"),
        ("the cat", "list of sentences"),
        (7, "not int"),
        (["the cat", ""], "sentence 1 is empty"),
        ([" \n\t"], "sentence 0 is empty"),
        (["cat", 3], "sentence 1 is of type int"),
        (["cat", None], "sentence 1 is of type NoneType"),
        (["\u200b"], "sentence 0 has no tokens"),
        (["cat " * 30], f"sentence 0 has 32 tokens, this model takes {MOST_TOKENS}"),
    ],
)
def test_encode_refuses(model: PrivateModel, client: InProcessClient, sentences: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.encode(sentences)
    assert client.requests == []


def test_encode_refuses_a_batch_size_of_zero(model: PrivateModel, client: InProcessClient) -> None:
    with pytest.raises(InputError, match="batch_size is 0"):
        model.encode(["cat"], batch_size=0)
    assert client.requests == []


def test_encode_truncates_when_asked(model: PrivateModel, client: InProcessClient) -> None:
    model.encode(["cat " * 30], truncate=True)
    assert [request.tokens for request in client.requests] == [MOST_TOKENS]


IDS = torch.tensor([[2, 7, 3]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": {2, 7, 3}}, "input_ids must be a torch tensor, a numpy array or a list, not set"),
        ({"input_ids": IDS.float()}, "must hold integers"),
        ({"input_ids": IDS[0]}, "must have shape"),
        ({"input_ids": IDS[:, :0]}, "is empty"),
        ({"input_ids": IDS + len(VOCABULARY)}, "is outside 0 to"),
        ({"input_ids": -IDS}, "is outside 0 to"),
        ({"input_ids": IDS.repeat(1, 9)}, "27 tokens"),
        ({"input_ids": IDS, "attention_mask": torch.zeros_like(IDS)}, "all zeros"),
        ({"input_ids": IDS, "attention_mask": [[1, 1], [0]]}, "attention_mask must be numbers in rows of equal length"),
        ({"input_ids": IDS, "attention_mask": IDS[:, :2]}, "attention_mask has shape"),
        ({"input_ids": IDS, "attention_mask": IDS.float()}, "must hold integers"),
        ({"input_ids": IDS, "token_type_ids": IDS}, "token_type_ids.* is outside 0 to 1"),
        ({"input_ids": IDS, "token_type_ids": "0"}, "token_type_ids must be a torch tensor"),
    ],
)
def test_call_refuses(model: PrivateModel, client: InProcessClient, arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model(**arguments)
    assert client.requests == []


class FailingClient(InProcessClient):
    """Notices what it was given, and fails as a lost party would."""

    seen: Path

    def load_model(self, manifest: Any, shares: Any = None, progress: Any = None) -> None:
        self.seen = shares["p0"].parent
        assert self.seen.stat().st_mode & 0o777 == 0o700
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in shares.values())
        raise self.error

    error: BaseException = PartyLost("p1", "the upload")


@pytest.mark.parametrize("error", [PartyLost("p1", "the upload"), KeyboardInterrupt()])
def test_share_files_are_removed_when_loading_fails(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client = FailingClient()
    client.error = error
    with pytest.raises(type(error)):
        PrivateModel.from_pretrained(checkpoint, parties=Parties(client))
    assert client.seen.parent == tmp_path
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("weights", ["private", "public", "server"])
def test_split_folder_with_and_without_shares(checkpoint: Path, reference: Any, tmp_path: Path, weights: Any) -> None:
    split(checkpoint, tmp_path / "owner", weights)
    shares = {role: (tmp_path / "owner" / f"{role}.safetensors") for role in ("p0", "p1")}
    client = InProcessClient(served=tmp_path / "parties")
    model = PrivateModel.from_pretrained(tmp_path / "owner", parties=Parties(client))
    assert client.uploaded == [shares]
    # The parties hold the share files now, the client has the rest of the folder.
    (tmp_path / "parties").mkdir()
    for path in shares.values():
        path.rename(tmp_path / "parties" / path.name)
    model = PrivateModel.from_pretrained(tmp_path / "owner", parties=Parties(client))
    assert client.uploaded == [shares, None]
    ours = model.encode(["the cat sat", "a dog"])
    theirs = plain_embeddings(reference, load_tokenizer(checkpoint), ["the cat sat", "a dog"])
    assert float((ours - theirs).abs().max()) < HIDDEN_ERROR


def test_split_folder_refuses(checkpoint: Path, parties: Parties, client: InProcessClient, tmp_path: Path) -> None:
    split(checkpoint, tmp_path / "split", "public")
    with pytest.raises(CheckpointError, match="split with public weights, private ones are asked for"):
        PrivateModel.from_pretrained(tmp_path / "split", parties=parties, weights="private")
    with pytest.raises(CheckpointError, match=r"functions='ours'.*not.*functions='puma'.*split it again"):
        PrivateModel.from_pretrained(tmp_path / "split", parties=parties, policy=FixedPointPolicy(functions="puma"))
    with pytest.raises(CheckpointError, match="is not empty"):
        split(checkpoint, tmp_path / "split", "public")
    (tmp_path / "split" / "p1.safetensors").unlink()
    with pytest.raises(CheckpointError, match="the share of p0 alone"):
        PrivateModel.from_pretrained(tmp_path / "split", parties=parties)
    (tmp_path / "split" / CLIENT_NAME).unlink()
    with pytest.raises(CheckpointError, match="which the client needs"):
        PrivateModel.from_pretrained(tmp_path / "split", parties=parties)
    assert client.uploaded == []


def test_folders_that_are_no_checkpoint(parties: Parties, client: InProcessClient, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no folder"):
        PrivateModel.from_pretrained(tmp_path / "missing", parties=parties)
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        PrivateModel.from_pretrained(tmp_path, parties=parties)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="its tokenizer cannot be read"):
        PrivateModel.from_pretrained(tmp_path, parties=parties)
    assert client.uploaded == []


def test_without_a_tokenizer_token_ids_still_work(checkpoint: Path, parties: Parties, tmp_path: Path) -> None:
    split_checkpoint(checkpoint, tmp_path)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    model = PrivateModel.from_pretrained(tmp_path, parties=parties)
    assert model(input_ids=IDS).last_hidden_state.shape == (1, 3, 24)
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        model.encode(["cat"])


def test_a_tokenizer_of_another_model_is_refused(
    checkpoint: Path, parties: Parties, client: InProcessClient, tmp_path: Path
) -> None:
    split_checkpoint(checkpoint, tmp_path)
    vocabulary = [*VOCABULARY, *(f"x{i}" for i in range(5))]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    model = PrivateModel.from_pretrained(tmp_path, parties=parties)
    with pytest.raises(InputError, match="the tokenizer belongs to another model"):
        model.encode(["cat", "x4"])
    assert client.requests == []


def test_unload_and_close(model: PrivateModel, client: InProcessClient) -> None:
    stopped = []
    with Parties(client, lambda: stopped.append(True)) as parties:
        model.unload()
        assert client.models == {}
    parties.close()
    assert stopped == [True]
    assert client.closed >= 1


def test_shares_of_different_splits_are_named_by_their_folder(
    checkpoint: Path, parties: Parties, client: InProcessClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_checkpoint(checkpoint, tmp_path)

    def load(*_: object) -> NoReturn:
        raise CheckpointError("the file that was uploaded to p0 is not the share of p0")

    monkeypatch.setattr(client, "load_model", load)
    with pytest.raises(CheckpointError, match=f"^{tmp_path}: the file that was uploaded to p0"):
        PrivateModel.from_pretrained(tmp_path, parties=parties)


def test_a_name_that_is_no_folder_says_how_to_get_one(parties: Parties) -> None:
    with pytest.raises(CheckpointError, match=r"bert-base-uncased is no folder; .*huggingface_hub\.snapshot_download"):
        PrivateModel.from_pretrained("bert-base-uncased", parties=parties)


def test_a_broken_config_is_not_blamed_on_the_tokenizer(checkpoint: Path, parties: Parties, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "broken"))
    (folder / "config.json").write_text('{"model_type": ')
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        PrivateModel.from_pretrained(folder, parties=parties)


def test_the_end_of_a_block_unloads(
    model: PrivateModel, client: InProcessClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with model:
        assert client.models
    assert not client.models

    def unload(model_digest: str) -> NoReturn:
        raise PartyUnreachable("p0", "localhost:7100", 5.0)

    monkeypatch.setattr(client, "unload_model", unload)
    with pytest.raises(PartyLost, match="p1 went away"), model:
        raise PartyLost("p1", "layer 1")
    with pytest.raises(PartyUnreachable), model:
        pass
