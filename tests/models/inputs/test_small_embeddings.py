"""Words whose embeddings are nearly zero, as of tokens that training never saw: right, or refused by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint
from secure.models.contract.manifest import Manifest
from secure.models.inputs.small_embeddings import small_rows
from secure.models.program import network
from secure.protocols.core.errors import CheckpointError, InputError
from tests.families import REPLICATED
from tests.in_process import BEAVER, Family
from tests.models.decoders import SIZES, forward, save_decoder
from tests.models.kin import save_model
from tests.models.runs import client_inputs, secure_run

SMALL = 7
IDS = torch.tensor([[15, 5, 9, SMALL, 33, 2, SMALL, 60]])
ERROR = 8e-3  # of logits and hidden states of about three, as in tests of ordinary models


def save(folder: Path, family: str, factor: float, epsilon: float) -> Any:
    """A model of which one word's embedding is so many times what it was, and whatever is added to it, too."""
    if family in SIZES:
        named = "layer_norm_epsilon" if family == "gpt2" else "rms_norm_eps"
        model = save_decoder(folder, family, **{named: epsilon}, tie_word_embeddings=False)
    else:
        model = save_model(folder, family, "none")
    with torch.no_grad():
        model.get_input_embeddings().weight[SMALL] *= factor
        for name, parameter in model.named_parameters():
            if any(part in name for part in ("wpe", "position_embeddings", "token_type_embeddings")):
                parameter *= factor
    model.save_pretrained(folder)
    return model


def error_of(model: Any, checkpoint: Checkpoint, folder: Path, family: Family = BEAVER) -> float:
    decoder = checkpoint.manifest.architecture in SIZES
    output, field = ("logits", "logits") if decoder else ("hidden", "last_hidden_state")
    due: Tensor = getattr(forward(model, IDS), field)
    return float((secure_run(checkpoint, folder, output, {"input_ids": IDS}, family)[field] - due).abs().max())


@pytest.mark.parametrize("factor", [0.003, pytest.param(0.01, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("architecture", "epsilon"),
    [
        ("llama", 1e-6),
        ("gpt2", 1e-5),
        ("bert", 1e-12),
        pytest.param("llama", 1e-8, marks=pytest.mark.slow),
        pytest.param("qwen3", 1e-6, marks=pytest.mark.slow),
        pytest.param("mistral", 1e-5, marks=pytest.mark.slow),
        pytest.param("distilbert", 1e-12, marks=pytest.mark.slow),
        pytest.param("roberta", 1e-12, marks=pytest.mark.slow),
    ],
)
def test_results_are_right(
    architecture: str, epsilon: float, factor: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = save(tmp_path, architecture, factor, epsilon)
    checkpoint = read_checkpoint(tmp_path)
    assert not checkpoint.manifest.refused_ids
    assert "too small" not in caplog.text
    for family in (BEAVER, REPLICATED) if architecture in ("llama", "bert") else (BEAVER,):
        assert error_of(model, checkpoint, tmp_path / family.name, family) < ERROR


def test_a_row_of_zeros_is_right_and_an_ordinary_one_is_left_as_it_is(tmp_path: Path) -> None:
    for factor in (0.0, 1.0):
        model = save(tmp_path, "llama", factor, 1e-6)
        checkpoint = read_checkpoint(tmp_path)
        assert checkpoint.manifest.config["embedding_exponent"] == 0
        assert not checkpoint.manifest.refused_ids
        assert error_of(model, checkpoint, tmp_path / f"{factor}") < ERROR


@pytest.mark.parametrize(("architecture", "refused"), [("llama", {SMALL}), ("gpt2", {SMALL}), ("bert", {0, SMALL})])
def test_what_no_power_brings_into_range_is_refused_by_number(
    architecture: str, refused: set[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Padding has a row of zeros, which is as small as the positions that are added to it."""
    save(tmp_path, architecture, 1e-4, 1e-12)
    manifest = read_checkpoint(tmp_path).manifest
    assert set(manifest.refused_ids) == refused
    assert (
        f"{len(refused)} tokens have embeddings that are too small for secure arithmetic, but not zero" in caplog.text
    )
    net = network(Manifest.from_json(manifest.to_json()))
    output = net.whole_output
    with pytest.raises(InputError, match=rf"input_ids\[0, 3\] is {SMALL}: the embedding of this token is too small"):
        client_inputs(net, net.request(output, {"input_ids": IDS}), {"input_ids": IDS})
    # Where it does not count, and without it, all is well.
    masked = {"input_ids": IDS, "attention_mask": (IDS != SMALL).long()}
    assert client_inputs(net, net.request(output, masked), masked)
    others = {"input_ids": IDS[:, :3]}
    assert client_inputs(net, net.request(output, others), others)


def test_a_manifest_names_tokens_or_nothing() -> None:
    text = '{"format": 3, "architecture": "llama", "config": {}, "policy": {}, "weights": "private", "parameters": {}, '
    assert Manifest.from_json(text + '"share_digests": {}}').refused_ids == ()
    assert Manifest.from_json(text + '"share_digests": {}, "refused_ids": [3]}').refused_ids == (3,)
    for wrong in ("[-1]", "[true]", '"7"', "3"):
        with pytest.raises(CheckpointError, match="refused_ids that are no list of tokens"):
            Manifest.from_json(f'{text}"share_digests": {{}}, "refused_ids": {wrong}}}')


def test_a_sum_that_cancels_is_found() -> None:
    """A word that is small with one position alone, and none that is small by itself."""
    generator = torch.Generator().manual_seed(0)
    words, positions = (torch.randn(n, 24, generator=generator, dtype=torch.float64) for n in (50, 9))
    words[31] = 0.006 * words[31] / words[31].norm() - positions[4]
    assert small_rows(words, [positions], 1e-12) == (3, ())
    words[31] = 1e-5 * (words[31] + positions[4]) - positions[4]
    assert small_rows(words, [positions], 1e-12) == (3, (31,))
