"""One fixed model and input of each family, and the logits that transformers gave for them in float64.

Weights follow from a formula, not from a random generator: neither a newer torch nor a newer transformers moves them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.models.checkpoint.conversion import read_checkpoint
from tests.models.decoders import save_decoder
from tests.models.kin import save_model
from tests.models.runs import clear_run, secure_run

IDS = torch.tensor([[2, 17, 43, 8, 60], [2, 31, 5, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
_ROBERTA = [[0.28157, 0.18994, 0.47907], [0.33099, 0.22545, 0.49755]]
GOLDEN = {
    "bert": [[-0.28491, 0.17095, 0.50534], [0.10056, -0.03019, 0.20088]],
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": [[0.28343, -0.06713, -0.12908], [0.25385, -0.03876, -0.12146]],
}
DECODERS: dict[str, dict[str, Any]] = {
    "llama": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "mistral": {"sliding_window": 2, "head_dim": 6},
    "qwen2": {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1, "tie_word_embeddings": True},
    "qwen3": {"head_dim": 6, "attention_bias": True},
}
DECODER_GOLDEN = {
    "llama": [
        [-0.16403, -0.27471, -0.32114, -0.29246, -0.19538, -0.05261],
        [-0.1263, -0.13907, -0.11931, -0.07164, -0.00722, 0.05889],
    ],
    "mistral": [
        [-0.09852, -0.14819, -0.16319, -0.14003, -0.08412, -0.00853],
        [-0.12737, -0.0194, 0.0931, 0.18383, 0.23157, 0.22514],
    ],
    "qwen2": [
        [-2.25269, -1.2502, 0.04469, 1.32912, 2.3027, 2.73772],
        [-2.81247, -2.57577, -1.73664, -0.49134, 0.86887, 2.02587],
    ],
    "qwen3": [
        [-0.35674, 0.27185, 0.83687, 1.20615, 1.29334, 1.07804],
        [-0.06044, 0.65487, 1.21702, 1.49453, 1.42249, 1.01777],
    ],
}


def by_formula(tensors: dict[str, Tensor]) -> None:
    """Waves, no two alike; about one where a norm multiplies."""
    for number, name in enumerate(sorted(tensors)):
        wave = 0.2 * torch.sin((number + 1.7) * torch.arange(tensors[name].numel(), dtype=torch.float64) + number)
        gain = name.endswith("weight") and "norm" in name.lower()
        tensors[name] = (wave + gain).reshape(tensors[name].shape).to(torch.float32)


@pytest.mark.parametrize("family", GOLDEN)
def test_logits(family: str, tmp_path: Path, edit: Callable[..., None]) -> None:
    save_model(tmp_path, family, "sequence", num_labels=3)
    edit(tmp_path, tensors=by_formula)
    checkpoint = read_checkpoint(tmp_path)
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    due = torch.tensor(GOLDEN[family], dtype=torch.float64)
    assert float((clear_run(checkpoint, "logits", inputs)["logits"] - due).abs().max()) < 5e-4
    assert float((secure_run(checkpoint, tmp_path / "split", "logits", inputs)["logits"] - due).abs().max()) < 2e-3


@pytest.mark.parametrize("family", DECODERS)
def test_logits_of_decoders(family: str, tmp_path: Path, edit: Callable[..., None]) -> None:
    """Of the last token and every twelfth word, after prompts that are padded at their start."""
    save_decoder(tmp_path, family, **DECODERS[family])
    edit(tmp_path, tensors=by_formula)
    checkpoint = read_checkpoint(tmp_path)
    inputs = {"input_ids": IDS, "attention_mask": MASK.flip(1)}
    due = torch.tensor(DECODER_GOLDEN[family], dtype=torch.float64)
    clear = clear_run(checkpoint, "next_logits", inputs)["logits"][:, ::12]
    assert float((clear - due).abs().max()) < 5e-4
    secure = secure_run(checkpoint, tmp_path / "split", "next_logits", inputs)["logits"][:, ::12]
    assert float((secure - due).abs().max()) < 5e-3
