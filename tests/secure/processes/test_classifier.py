"""A classifier of sentences on three real processes over mutual TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import secure
from tests.models.kin import save_model
from tests.secure.running import Running

LOGITS_ERROR = 2e-3
LABELS = {0: "sad", 1: "neither", 2: "glad"}

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("parties")]


def test_classifier_on_three_processes(tmp_path: Path, beaver: Running) -> None:
    reference = save_model(tmp_path, "roberta", "sequence", id2label=LABELS)
    ids = torch.tensor([[2, 17, 43, 8, 60], [2, 31, 5, 1, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.inference_mode():
        due = reference(input_ids=ids, attention_mask=mask).logits
    model = secure.PrivateModel.from_pretrained(tmp_path, parties=beaver.parties)
    logits = model(input_ids=ids, attention_mask=mask).logits
    assert float((logits - due).abs().max()) < LOGITS_ERROR
    assert [model.id2label[i] for i in logits.argmax(1).tolist()] == [LABELS[i] for i in due.argmax(1).tolist()]
    assert sum(row.online_bytes for row in model.report.rows) == model.report.online_bytes - 16 > 0
    assert model.report.roles["p0"].messages_sent["p1"] == model.report.rounds
