"""head=False loads the body of a decoder's checkpoint, whatever transformers put on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig

from secure.models.checkpoint.conversion import read_checkpoint
from tests.models.decoders import SIZES, forward, words
from tests.models.runs import clear_run

CLEAR_ERROR = 1e-3  # rounding of weights and inputs to 2^-16
CLASSES = {
    "GPT2DoubleHeadsModel": transformers.GPT2DoubleHeadsModel,
    "GPT2ForSequenceClassification": transformers.GPT2ForSequenceClassification,
    "GPT2ForTokenClassification": transformers.GPT2ForTokenClassification,
    "GPT2ForQuestionAnswering": transformers.GPT2ForQuestionAnswering,
    "LlamaForSequenceClassification": transformers.LlamaForSequenceClassification,
    "LlamaForTokenClassification": transformers.LlamaForTokenClassification,
    "LlamaForQuestionAnswering": transformers.LlamaForQuestionAnswering,
    "MistralForQuestionAnswering": transformers.MistralForQuestionAnswering,
    "Qwen2ForTokenClassification": transformers.Qwen2ForTokenClassification,
    "Qwen2ForQuestionAnswering": transformers.Qwen2ForQuestionAnswering,
    "Qwen3ForSequenceClassification": transformers.Qwen3ForSequenceClassification,
    "Qwen3ForTokenClassification": transformers.Qwen3ForTokenClassification,
    "Qwen3ForQuestionAnswering": transformers.Qwen3ForQuestionAnswering,
}


def save(folder: Path, name: str) -> Any:
    family = next(family for family in SIZES if name.lower().startswith(family))
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES[family], initializer_range=0.2, pad_token_id=0)
    model = CLASSES[name](config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("name", CLASSES)
def test_the_body_alone(name: str, tmp_path: Path) -> None:
    model, ids = save(tmp_path, name), words(2, 5)
    checkpoint = read_checkpoint(tmp_path, head=False)
    due = forward(model.get_submodule(model.base_model_prefix), ids).last_hidden_state
    found = clear_run(checkpoint, "hidden", {"input_ids": ids})["last_hidden_state"]
    assert float((found - due).abs().max()) < CLEAR_ERROR
