"""A real language model, by three real processes: it says what it says in the clear."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import secure
from bench import smollm2

QUESTION = "What is the capital of France?"
LOGIT_ERROR = 0.15  # of logits from -9 to 25; 0.052 is the most that was seen


@pytest.mark.slow
@pytest.mark.skipif(not smollm2.installed(), reason="the weights are not installed: see bench/smollm2.py")
@pytest.mark.parametrize("weights", ["public", "private"])
def test_an_answer(weights: str, tmp_path: Path) -> None:
    smollm2.save(tmp_path)
    tokenizer, reference = AutoTokenizer.from_pretrained(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, tokenize=False
    )
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.inference_mode():
        due, logits = reference.generate(ids, max_new_tokens=12, do_sample=False), reference(ids).logits
    with secure.launch() as parties:
        model = secure.PrivateModel.from_pretrained(tmp_path, parties=parties, weights=weights)
        assert model.manifest.config["stream_exponent"] == -3  # its stream reaches 26,000
        found = model.generate(ids, max_new_tokens=12)
        errors = (model(input_ids=ids).logits - logits).abs()
    assert "Paris" in tokenizer.decode(found[0, ids.shape[1] :])
    assert torch.equal(found, due)
    assert float(errors.max()) < LOGIT_ERROR
