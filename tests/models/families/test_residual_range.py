"""Residual streams that are too small or too large for secure arithmetic are scaled, and outputs stay what they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.models.checkpoint.conversion import read_checkpoint
from secure.models.contract.manifest import WeightVisibility
from secure.models.contract.rehearsal import NormInput
from secure.models.families.residual_range import StreamRange, stream_range
from secure.protocols.core.errors import CheckpointError
from tests.families import REPLICATED
from tests.in_process import BEAVER, Family
from tests.models.decoders import SIZES, plain, save_decoder, words
from tests.models.kin import save_model
from tests.models.runs import secure_steps
from tests.sampling import sampled

ERROR = 8e-3  # of logits of two to three, as in test_llama and test_gpt2; 3.7e-3 is the most that was seen
WRITERS = ("embed_tokens", "o_proj", "down_proj", "wte", "wpe", "c_proj")
SMALL = slice(1, None, 3)
FAMILIES = tuple(SIZES)
KINDS = [
    pytest.param(family, marks=() if family in ("gpt2", "llama") else pytest.mark.slow, id=family)
    for family in FAMILIES
]
"""What the default run takes has positions that are learnt, or rotated."""


def save_scaled(folder: Path, family: str, power: int) -> torch.nn.Module:
    """A model of which everything in the stream is 2^power times what it was, and the logits are the same."""
    own_head = {"tie_word_embeddings": False}
    epsilon = "layer_norm_epsilon" if family == "gpt2" else "rms_norm_eps"
    model = save_decoder(folder, family, spread=0.12, **own_head, **{epsilon: 1e-5 * 4.0**power})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(writer in name for writer in WRITERS):
                parameter *= 2.0**power
    model.save_pretrained(folder)
    return model


def save_uneven(folder: Path, family: str) -> Any:
    """A model of which every third word's embedding is a thirty-second of the others' size."""
    model = save_decoder(folder, family, spread=0.12, tie_word_embeddings=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[SMALL] /= 32.0
        if family == "gpt2":
            model.transformer.wpe.weight /= 32.0
    model.save_pretrained(folder)
    return model


def steps(model: torch.nn.Module) -> tuple[list[dict[str, Tensor | None]], Tensor]:
    """A prompt and two tokens after it; the logits that are due at each step."""
    ids = words(1, 7)
    inputs: list[dict[str, Tensor | None]] = [{"input_ids": ids[:, :5]}, {"input_ids": ids[:, 5:6]}]
    return [*inputs, {"input_ids": ids[:, 6:]}], plain(model, ids).logits[0, 4:].double()


def error_of(
    folder: Path, model: torch.nn.Module, exponent: int | None, family: Family, weights: WeightVisibility
) -> float:
    """Largest error of the logits of three steps."""
    inputs, due = steps(model)
    checkpoint = read_checkpoint(folder, weights=weights, stream_exponent=exponent)
    found, _ = secure_steps(checkpoint, folder / f"split{exponent}", "next_logits", inputs, family=family)
    return float((torch.cat([step["logits"] for step in found]).double() - due).abs().max())


@pytest.mark.parametrize(
    ("power", "family", "weights"),
    sampled(
        [
            pytest.param(power, family, weights, id=f"{power}-{family}-{weights}")
            for power in (-9, 13)
            for family in FAMILIES
            for weights in ("private", "public")
        ],
        lambda power, family, weights: [power, weights, family == "gpt2"],
    ),
)
def test_a_stream_out_of_range_is_scaled(power: int, family: str, weights: WeightVisibility, tmp_path: Path) -> None:
    model = save_scaled(tmp_path, family, power)
    exponent = read_checkpoint(tmp_path).manifest.config["stream_exponent"]
    assert -power <= exponent < 0 if power > 0 else 0 < exponent <= -power
    assert error_of(tmp_path, model, None, BEAVER, weights) < ERROR
    # Without it the model is refused: what is in range is no matter of taste.
    with pytest.raises(CheckpointError, match=r"layer (embeddings|layer\.0) leaves .*: leave stream_exponent out"):
        read_checkpoint(tmp_path, weights=weights, stream_exponent=0)


@pytest.mark.parametrize("power", [-9, 13])
def test_the_other_protocol_takes_the_same_scale(power: int, tmp_path: Path) -> None:
    assert error_of(tmp_path, save_scaled(tmp_path, "llama", power), None, REPLICATED, "private") < ERROR


@pytest.mark.parametrize("family", KINDS)
def test_an_ordinary_stream_is_left_as_it_is(family: str, tmp_path: Path) -> None:
    save_decoder(tmp_path, family)
    assert read_checkpoint(tmp_path).manifest.config["stream_exponent"] == 0


def test_norms_of_heads_are_no_part_of_the_stream(tmp_path: Path) -> None:
    """What they see is as large as it is, whatever the stream's scale: it calls for none."""
    model = save_decoder(tmp_path, "qwen3", spread=0.12)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "q_proj" in name:
                parameter *= 256.0
    model.save_pretrained(tmp_path)
    assert read_checkpoint(tmp_path).manifest.config["stream_exponent"] == 0
    assert error_of(tmp_path, model, None, BEAVER, "private") < ERROR


def test_a_scale_may_be_chosen(tmp_path: Path) -> None:
    model = save_decoder(tmp_path, "llama", spread=0.12)
    for exponent in (-2, 3):
        found = read_checkpoint(tmp_path, stream_exponent=exponent)
        assert found.manifest.config["stream_exponent"] == exponent
        assert error_of(tmp_path, model, exponent, BEAVER, "private") < ERROR
    with pytest.raises(CheckpointError, match=r"stream_exponent is 13; supported is -12 to 12"):
        read_checkpoint(tmp_path, stream_exponent=13)


def test_other_models_have_no_scale(tmp_path: Path) -> None:
    save_model(tmp_path, "bert", "none")
    assert "stream_exponent" not in read_checkpoint(tmp_path, stream_exponent=0).manifest.config
    with pytest.raises(CheckpointError, match="stream_exponent is for language models"):
        read_checkpoint(tmp_path, stream_exponent=1)


@pytest.mark.parametrize("family", KINDS)
def test_tokens_with_small_embeddings_count(family: str, tmp_path: Path) -> None:
    model = save_uneven(tmp_path, family)
    assert read_checkpoint(tmp_path).manifest.config["stream_exponent"] in (2, 3)
    assert error_of(tmp_path, model, None, BEAVER, "private") < ERROR


@pytest.mark.parametrize("family", KINDS)
def test_rows_that_no_text_has_do_not(family: str, tmp_path: Path) -> None:
    model = save_uneven(tmp_path, family)
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        table[SMALL] *= 32.0
        table[50:55] = 0.0
        table[55:] *= 2.0**-10
    model.save_pretrained(tmp_path)
    assert read_checkpoint(tmp_path).manifest.config["stream_exponent"] == 0
    with torch.no_grad():
        table.zero_()
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="embeddings are not finite, or zero everywhere"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("seen", "exponent"),
    [
        (StreamRange(2.0**-12, 2.0**-12, 1.0, 2.0**16, 2.0**12, 576), 0),
        (StreamRange(2.0**-12 * 0.99, 2.0**-12, 1.0, 2.0**8, 2.0**8, 576), 1),
        (StreamRange(2.0**-18, 2.0**-8, 1.0, 2.0**-10, 2.0**-3, 576), 3),
        (StreamRange(2.0**-6, 2.0**-6, 1.0, 2.0**10, 2.0**12 * 1.01, 576), -1),
        (StreamRange(2.0**-6, 2.0**-6, 1.0, 2.0**16 * 1.01, 2.0**11, 576), -1),
        (StreamRange(2.0**-6, 2.0**-6, 17.0, 2.0**10, 2.0**11, 576), -1),
        (StreamRange(0.0083, 0.0175, 1.0, 1.09e6, 24926.0, 576), -3),  # SmolLM2-135M
        (StreamRange(2.0**-13, 2.0**-13, 1.0, 2.0**10, 2.0**12, 576), 0),  # small, but there is no room to scale it up
    ],
)
def test_the_exponent_is_the_nearest_to_zero_that_fits(
    seen: StreamRange, exponent: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert seen.exponent(13) == exponent
    assert not caplog.text


def test_a_few_tokens_that_no_power_fits_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert StreamRange(2.0**-16, 2.0**-8, 1.0, 2.0**16, 2.0**11, 576).exponent(13) == 0
    assert "the smallest embeddings have a mean square of 1.5e-05, and typical ones 0.0039: not all fit" in caplog.text


def test_ranges_that_no_power_fits_are_refused() -> None:
    with pytest.raises(CheckpointError, match="no power of two brings both into range"):
        StreamRange(2.0**-14, 2.0**-14, 1.0, 2.0**12, 2.0**13, 576).exponent(13)
    with pytest.raises(CheckpointError, match="12 being the largest"):
        StreamRange(2.0**-42, 2.0**-42, 2.0**-20, 2.0**-40, 2.0**-20, 576).exponent(13)
    with pytest.raises(CheckpointError, match="stream_exponent is -13"):
        StreamRange(2.0**20, 2.0**20, 2.0**17, 2.0**38, 2.0**19, 576).exponent(13)


def test_a_stream_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    model = save_decoder(tmp_path, "llama")
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(float("inf"))
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"'embeddings\.table' has NaN or infinite entries"):
        read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="hidden states are not finite"):
        stream_range([NormInput(torch.tensor([1.0, math.inf]), 1e20)], 24)
