"""One fixed model and input of each family, and the logits that transformers gave for them in float64.

Weights follow from a formula, not from a random generator: neither a newer torch nor a newer transformers moves them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.checkpoint import read_checkpoint
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
