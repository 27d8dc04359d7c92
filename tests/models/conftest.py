"""Tiny random checkpoints, as transformers writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from tests.models.kin import SIZES


@pytest.fixture
def save_bert(tmp_path: Path) -> Callable[..., tuple[Path, BertModel]]:
    """Save a random BertModel; keyword arguments change its configuration."""

    def save(seed: int = 0, pooler: bool = True, **changes: Any) -> tuple[Path, BertModel]:
        torch.manual_seed(seed)
        model = BertModel(BertConfig(**(SIZES | changes)), add_pooling_layer=pooler).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                # Biases and norms of a fresh model are all zeros and ones: a swapped pair would go unnoticed.
                if name.endswith("bias") or "LayerNorm" in name:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        folder = tmp_path / f"checkpoint{seed}"
        model.save_pretrained(folder)
        return folder, model

    return save


@pytest.fixture
def edit() -> Callable[..., None]:
    """Change a saved checkpoint: `config` values, and tensors by a function on the whole dictionary."""

    def change(
        folder: Path,
        config: dict[str, Any] | None = None,
        tensors: Callable[[dict[str, torch.Tensor]], None] | None = None,
    ) -> None:
        if config:
            path = folder / "config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | config))
        if tensors:
            found = load_file(folder / "model.safetensors")
            tensors(found)
            save_file(found, folder / "model.safetensors", metadata={"format": "pt"})

    return change
