"""A checkpoint whose numbers leave the range of secure arithmetic is refused where it is read, by layer and value."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from secure.models.checkpoint.conversion import read_checkpoint
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from tests.families import FAMILIES
from tests.models.decoders import save_decoder
from tests.models.images import save_vit
from tests.models.kin import save_model
from tests.models.runs import secure_run

MODELS: dict[str, Callable[[Path], Any]] = {
    **{family: partial(save_model, family=family, head="sequence") for family in ("bert", "roberta", "distilbert")},
    **{family: partial(save_decoder, family=family) for family in ("gpt2", "llama", "qwen2")},
    "vit": save_vit,
}
SCORES = r"attention scores of one token.* are [\d.e+]+ apart; with a mask they may be 2032 at the most"

VALUES = (
    r"values of attention, as many as there are tokens \(\d+\), has magnitude [\d.e+]+, the declared bound is (169|339)"
)


def save_scaled(folder: Path, family: str, **factors: float) -> None:
    """A model of which the parameters with such names are multiplied; __ is a dot."""
    model = MODELS[family](folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for part, factor in factors.items():
                if part.replace("__", ".") in name:
                    parameter *= factor
    model.save_pretrained(folder)


@pytest.mark.parametrize("family", MODELS)
def test_an_ordinary_model_is_read(family: str, tmp_path: Path) -> None:
    save_scaled(tmp_path, family)
    assert read_checkpoint(tmp_path).tensors


@pytest.mark.parametrize(
    ("family", "factors", "message"),
    [
        # Queries, keys or values.
        ("bert", {"layer__1__attention__self__value": 8e3}, r"layer\.1\.attention\.qkv.*: linear has magnitude"),
        ("llama", {"layers__1__self_attn__q_proj": 8e3}, r"layer\.1\.attention\.qkv.*: linear has magnitude"),
        # Values that are right here, and whose sum would leave the range in a longer text.
        ("bert", {"layer__1__attention__self__value": 2e3}, rf"layer\.1\.attention\.qkv.*: {VALUES}"),
        ("llama", {"layers__1__self_attn__v_proj": 700.0}, rf"layer\.1\.attention\.qkv.*: {VALUES}"),
        # Scores that a mask does not reach.
        ("bert", {"layer__1__attention__self__key": 2e3}, rf"layer\.1\.attention\.qkv.*: {SCORES}"),
        ("roberta", {"layer__0__attention__self__query": 2e3}, rf"layer\.0\.attention\.qkv.*: {SCORES}"),
        ("distilbert", {"layer__1__attention__k_lin": 2e3}, rf"layer\.1\.attention\.qkv.*: {SCORES}"),
        ("gpt2", {"h__1__attn__c_attn": 24.0}, rf"layer\.1\.attention\.qkv.*: {SCORES}"),
        ("llama", {"layers__0__self_attn__q_proj": 200.0}, rf"layer\.0\.attention\.qkv.*: {SCORES}"),
        ("qwen2", {"layers__1__self_attn__k_proj": 250.0}, rf"layer\.1\.attention\.qkv.*: {SCORES}"),
        # Without masks they may be as large as any number.
        ("vit", {"1__attention__q": 200.0, "1__attention__k": 200.0}, r"layer\.1\.attention\.qkv.*: matmul has"),
        # What is between the layers of a feed-forward network.
        ("bert", {"layer__1__intermediate__dense__weight": 2e4}, r"layer\.1\.feedforward\.up.*: linear has magnitude"),
        ("vit", {"layers__0__mlp__fc1__weight": 2e4}, r"layer\.0\.feedforward\.up.*: linear has magnitude"),
        ("llama", {"1__mlp__gate": 40.0, "1__mlp__up": 40.0}, r"layer\.1\.feedforward\.gate_up.*: multiply has"),
        # What a head gives.
        ("bert", {"classifier": 2e4}, r"head\.output.*: linear has magnitude"),
        ("gpt2", {"ln_f": 4e3}, r"head\.bias: linear has magnitude"),
        # Rows that a norm takes for smaller than they are.
        ("bert", {"embeddings__": 2.0**-40}, r"embeddings\.positions: a norm takes sums of squares from"),
        # Weights.
        ("bert", {"layer__1__output__dense__weight": 1e5}, r"'layer\.1\.feedforward\.down\.weight' has entries of"),
    ],
)
def test_what_leaves_the_range_is_named(family: str, factors: dict[str, float], message: str, tmp_path: Path) -> None:
    save_scaled(tmp_path, family, **factors)
    with pytest.raises(
        CheckpointError, match=rf"run on a few inputs in the clear, layer \S+ leaves the range .*{message}"
    ):
        read_checkpoint(tmp_path)


def test_puma_functions_take_the_same_range(tmp_path: Path) -> None:
    save_scaled(tmp_path, "bert", layer__1__intermediate__dense__weight=2e4)
    with pytest.raises(CheckpointError, match=r"layer layer\.1 leaves the range"):
        read_checkpoint(tmp_path, policy=FixedPointPolicy(functions="puma"))


def test_values_may_be_larger_where_a_model_takes_fewer_tokens(tmp_path: Path) -> None:
    """Nearly all of 20 tokens' values are the same: they add up, and are right below 339 and refused above."""
    for size, fits in ((300.0, True), (345.0, False)):
        model = save_model(tmp_path, "bert", "none")
        with torch.no_grad():
            value = model.encoder.layer[0].attention.self.value
            value.weight.mul_(0.1)
            value.bias.fill_(size)
            model.encoder.layer[0].attention.output.dense.weight.mul_(0.01)
        model.save_pretrained(tmp_path)
        if not fits:
            with pytest.raises(CheckpointError, match=VALUES):
                read_checkpoint(tmp_path)
            continue
        ids = torch.arange(1, 21).unsqueeze(0)
        with torch.no_grad():
            due = model(ids).last_hidden_state
        checkpoint = read_checkpoint(tmp_path)
        for family in FAMILIES:
            found = secure_run(checkpoint, tmp_path / family.name, "hidden", {"input_ids": ids}, family)
            assert float((found["last_hidden_state"] - due).abs().max()) < 2e-2
