"""Arguments of the wrong type are named where they are given, before processes start or files are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import secure
from secure.connection import Parties
from secure.protocols.core.errors import ConfigurationError

Call = Callable[[Any, Path], object]
load = secure.PrivateModel.from_pretrained

WRONG: list[tuple[Call, str]] = [
    (
        lambda parties, path: secure.launch(memory_bytes="2GB"),
        "launch: memory_bytes should be a valid integer, not str",
    ),
    (lambda parties, path: secure.launch(log="p0.log"), "launch: log should be callable, not str"),
    (lambda parties, path: secure.launch(device=0), "launch: device should be a valid string, not int"),
    (lambda parties, path: secure.connect(None), "connect: config .*, not NoneType"),
    (lambda parties, path: load(None, parties=parties), "from_pretrained: path .*, not NoneType"),
    (lambda parties, path: load(path, parties="parties.toml"), "parties should be an instance of Parties, not str"),
    (lambda parties, path: load(path, parties=parties, policy="puma"), "policy .* of FixedPointPolicy, not str"),
    (
        lambda parties, path: load(path, parties=parties, weights="secret"),
        "weights should be 'private', .*, not 'secret'",
    ),
    (
        lambda parties, path: secure.PrivateModel.from_module("model", torch.zeros(1), parties=parties),
        "from_module: module should be an instance of Module, not str",
    ),
    (lambda parties, path: secure.EncryptedModel.from_pretrained(None, key="model.key"), "path .*, not NoneType"),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_arguments_of_a_wrong_type_are_named(call: Call, words: str, parties: Parties, checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match=words):
        call(parties, checkpoint)


def test_values_are_not_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"passphrase .* not bytes$"):
        secure.EncryptedModel.from_pretrained("folder", key="model.key", passphrase=b"geheim")


def test_arguments_that_are_missing_or_unknown_are_what_they_are_to_any_function() -> None:
    with pytest.raises(TypeError, match="parties"):
        load("folder")
    with pytest.raises(TypeError, match="policies"):
        load("folder", parties=None, policies=1)
