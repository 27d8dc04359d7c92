"""What all systems compute, in a file that every environment can read: an encoder's weights and its input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, np.dtype[np.float32]]]

NAMES = (
    "qkv.weight",  # [D, 3D], for x @ weight: query, key, value
    "qkv.bias",
    "output.weight",
    "output.bias",
    "attention_norm.weight",
    "attention_norm.bias",
    "up.weight",
    "up.bias",
    "down.weight",
    "down.bias",
    "feedforward_norm.weight",
    "feedforward_norm.bias",
)
"""Of each layer, in the order of use."""


@dataclass(frozen=True)
class Workload:
    """hidden: float32 [B, T, D], the embeddings' result. layers: arrays by `NAMES`."""

    hidden: np.ndarray[Any, np.dtype[np.float32]]
    layers: list[Arrays]
    heads: int
    epsilon: float

    def save(self, path: Path) -> None:
        """Write one file."""
        numbers = {
            "heads": np.array(self.heads),
            "epsilon": np.array(self.epsilon),
            "layers": np.array(len(self.layers)),
        }
        arrays = {f"layer.{i}.{name}": array for i, layer in enumerate(self.layers) for name, array in layer.items()}
        np.savez(path, allow_pickle=False, hidden=self.hidden, **numbers, **arrays)


def load(path: Path) -> Workload:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        layers = [{name: file[f"layer.{i}.{name}"] for name in NAMES} for i in range(int(file["layers"]))]
        return Workload(file["hidden"], layers, int(file["heads"]), float(file["epsilon"]))
