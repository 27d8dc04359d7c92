"""Classifiers and masked words through the Python API, with the real protocol in this process and no sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from secure.api import PrivateModel
from secure.connection import Parties
from secure.protocols.core.errors import CheckpointError, InputError
from secure.split import split
from tests.models.kin import save_model
from tests.secure.conftest import plain_embeddings
from tests.secure.fakes import InProcessClient

LOGITS_ERROR = 2e-3
LABELS = {0: "sad", 1: "neither", 2: "glad"}
IDS = torch.tensor([[2, 17, 43, 8], [2, 31, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


@pytest.mark.parametrize(
    ("family", "head", "kind"),
    [
        ("bert", "sequence", SequenceClassifierOutput),
        ("xlm-roberta", "token", TokenClassifierOutput),
        ("distilbert", "masked_lm", MaskedLMOutput),
    ],
)
def test_logits_in_the_class_of_transformers(
    family: str, head: str, kind: type, parties: Parties, tmp_path: Path
) -> None:
    reference = save_model(tmp_path, family, head, id2label=LABELS)
    model = PrivateModel.from_pretrained(tmp_path, parties=parties)
    ours = model(input_ids=IDS, attention_mask=MASK)
    with torch.inference_mode():
        theirs = reference(input_ids=IDS, attention_mask=MASK)
    assert type(ours) is type(theirs) is kind
    assert ours.keys() == theirs.keys()
    kept = MASK.bool() if ours.logits.dim() == 3 else slice(None)
    assert float((ours.logits - theirs.logits)[kept].abs().max()) < LOGITS_ERROR
    assert model.id2label == ({} if head == "masked_lm" else LABELS)
    assert model.report.rounds > 0


def test_an_answer_in_the_class_of_transformers(parties: Parties, tmp_path: Path) -> None:
    reference = save_model(tmp_path, "bert", "span")
    model = PrivateModel.from_pretrained(tmp_path, parties=parties)
    ours = model(input_ids=IDS.tolist(), attention_mask=MASK.numpy())
    with torch.inference_mode():
        theirs = reference(input_ids=IDS, attention_mask=MASK)
    assert type(ours) is type(theirs) and ours.keys() == theirs.keys() == {"start_logits", "end_logits"}
    for name in ours:
        assert ours[name].shape == IDS.shape
        assert float((ours[name] - theirs[name])[MASK.bool()].abs().max()) < LOGITS_ERROR


@pytest.mark.parametrize(("family", "kind"), [("roberta", BaseModelOutputWithPooling), ("distilbert", BaseModelOutput)])
def test_an_encoder_of_the_kin(family: str, kind: type, parties: Parties, tmp_path: Path) -> None:
    reference = save_model(tmp_path, family, "none")
    model = PrivateModel.from_pretrained(tmp_path, parties=parties, weights="public")
    ours = model(input_ids=IDS, attention_mask=MASK)
    with torch.inference_mode():
        theirs = reference(input_ids=IDS, attention_mask=MASK)
    assert type(ours) is kind
    assert ours.keys() == theirs.keys()
    assert float((ours.last_hidden_state - theirs.last_hidden_state)[MASK.bool()].abs().max()) < LOGITS_ERROR
    assert model.id2label == {}


def test_a_split_folder_keeps_head_and_labels(client: InProcessClient, tmp_path: Path) -> None:
    reference = save_model(tmp_path / "whole", "roberta", "sequence", id2label=LABELS)
    split(tmp_path / "whole", tmp_path / "shares", "private")
    model = PrivateModel.from_pretrained(tmp_path / "shares", parties=Parties(client))
    assert model.id2label == LABELS
    with torch.inference_mode():
        due = reference(input_ids=IDS, attention_mask=MASK).logits
    assert float((model(IDS, MASK).logits - due).abs().max()) < LOGITS_ERROR
    assert [request.output for request in client.requests] == ["logits"]
    with pytest.raises(CheckpointError, match="was split with its head"):
        PrivateModel.from_pretrained(tmp_path / "shares", parties=Parties(client), head=False)


def test_the_head_can_be_left_out(client: InProcessClient, tmp_path: Path) -> None:
    whole: Any = save_model(tmp_path / "whole", "bert", "masked_lm")
    split(tmp_path / "whole", tmp_path / "shares", "private", head=False)
    with torch.inference_mode():
        due = whole.base_model(input_ids=IDS).last_hidden_state
    for folder in ("whole", "shares"):
        model = PrivateModel.from_pretrained(tmp_path / folder, parties=Parties(client), head=False)
        assert float((model(IDS).last_hidden_state - due).abs().max()) < LOGITS_ERROR
        assert model(IDS).pooler_output is None


def test_a_split_folder_from_before_there_were_heads(client: InProcessClient, tmp_path: Path) -> None:
    reference = save_model(tmp_path / "whole", "bert", "none")
    split(tmp_path / "whole", tmp_path / "shares", "private")
    path = tmp_path / "shares" / "manifest.json"
    manifest = json.loads(path.read_text())
    for field in ("head", "labels", "padding_id"):
        del manifest["config"][field]
    path.write_text(json.dumps(manifest))
    model = PrivateModel.from_pretrained(tmp_path / "shares", parties=Parties(client))
    with torch.inference_mode():
        due = reference(input_ids=IDS).pooler_output
    assert float((model(IDS).pooler_output - due).abs().max()) < LOGITS_ERROR


def test_inputs_that_the_kin_refuses(client: InProcessClient, tmp_path: Path) -> None:
    save_model(tmp_path / "roberta", "roberta", "sequence")
    save_model(tmp_path / "distilbert", "distilbert", "sequence")
    roberta = PrivateModel.from_pretrained(tmp_path / "roberta", parties=Parties(client))
    with pytest.raises(InputError, match="pad at the end"):
        roberta(input_ids=IDS)
    distilbert = PrivateModel.from_pretrained(tmp_path / "distilbert", parties=Parties(client))
    with pytest.raises(InputError, match="no token types"):
        distilbert(input_ids=IDS, token_type_ids=torch.zeros_like(IDS))
    assert client.requests == []


def test_sentences_of_a_roberta(parties: Parties, tmp_path: Path) -> None:
    """Padding is that of its tokenizer, whose id the positions begin after."""
    reference = save_model(tmp_path, "roberta", "sequence")
    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "rain": 4, "is": 5, "cold": 6}
    rules = Tokenizer(WordLevel(words, unk_token="<unk>"))
    rules.pre_tokenizer = Whitespace()
    rules.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rules, model_max_length=512, **names)
    tokenizer.save_pretrained(tmp_path)
    sentences = ["rain", "cold rain is rain"]
    found = PrivateModel.from_pretrained(tmp_path, parties=parties).encode(sentences)
    due = plain_embeddings(reference.base_model, tokenizer, sentences)
    assert float((found - due).abs().max()) < LOGITS_ERROR
