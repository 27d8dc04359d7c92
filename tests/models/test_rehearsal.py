"""Checkpoints whose weights are in range and what they compute is not: refused when they are read, naming the layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from models.checkpoint import read_checkpoint
from protocols.core.errors import CheckpointError
from tests.models.decoders import save_decoder
from tests.models.images import save_vit

Change = Callable[[dict[str, Tensor]], None]
Edit = Callable[..., None]

ENCODER, VIT = "encoder.layer.1.", "vit.encoder.layer.1."
LLAMA = "model.layers.1."


def scaled(powers: dict[str, int]) -> Change:
    """The tensors whose names begin so times 2^power."""

    def change(tensors: dict[str, Tensor]) -> None:
        for prefix, power in powers.items():
            found = [name for name in tensors if name.startswith(prefix)]
            assert found, prefix
            for name in found:
                tensors[name] *= 2.0**power

    return change


ENCODERS = [
    ({"intermediate.dense.weight": 15, "output.dense.weight": -15}, r"feedforward\.up\.bias: linear has magnitude"),
    ({"attention.self.value": 14, "attention.output.dense.weight": -14}, r"attention\.\w+\.bias: linear has magnitude"),
    ({"attention.self.query": 7, "attention.self.key": 7}, "attention scores of one token differ by"),
]


@pytest.mark.parametrize("weights", ["private", "public", "server"])
@pytest.mark.parametrize(("powers", "what"), ENCODERS)
def test_encoders(
    powers: dict[str, int], what: str, weights: Any, save_bert: Callable[..., tuple[Path, Any]], edit: Edit
) -> None:
    folder, _ = save_bert()
    assert read_checkpoint(folder, weights=weights)
    edit(folder, tensors=scaled({ENCODER + name: power for name, power in powers.items()}))
    with pytest.raises(CheckpointError, match=rf"in the clear, layer layer\.1 goes out of range after .*{what}"):
        read_checkpoint(folder, weights=weights)


def test_images(edit: Edit, tmp_path: Path) -> None:
    save_vit(tmp_path)
    edit(tmp_path, tensors=scaled({VIT + "intermediate.dense": 12, VIT + "output.dense.weight": -12}))
    with pytest.raises(CheckpointError, match=r"layer layer\.1 goes out of range after .*up\.bias: .*(linear|gelu)"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("powers", "what"),
    [
        ({"mlp.up_proj": 12, "mlp.down_proj": -12}, "has magnitude"),
        ({"mlp.gate_proj": 11, "mlp.down_proj": -11}, "silu takes"),
        ({"self_attn.q_proj": 5, "self_attn.k_proj": 4}, "attention scores of one token differ by"),
    ],
)
@pytest.mark.parametrize("exponent", [None, 0])
def test_decoders(powers: dict[str, int], what: str, exponent: int | None, edit: Edit, tmp_path: Path) -> None:
    """A scale of the residual stream is no help: these are not of it."""
    save_decoder(tmp_path, "llama")
    assert read_checkpoint(tmp_path, stream_exponent=exponent)
    edit(tmp_path, tensors=scaled({LLAMA + name: power for name, power in powers.items()}))
    with pytest.raises(CheckpointError, match=rf"layer layer\.1 goes out of range after .*{what}"):
        read_checkpoint(tmp_path, stream_exponent=exponent)
