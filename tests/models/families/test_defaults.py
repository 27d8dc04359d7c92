"""A field that config.json lacks has the value that transformers takes for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import CONFIG_MAPPING, AutoConfig

from secure.models.families.registry import FAMILIES, architecture

SHARED = [name for name, family in FAMILIES.items() if family.shared is not None and name in CONFIG_MAPPING]
"""Those that transformers knows."""


def defaults(model_type: str) -> dict[str, Any]:
    """All that transformers has of a model whose config.json says its type alone."""
    found: dict[str, Any] = json.loads(AutoConfig.for_model(model_type).to_json_string(use_diff=False))
    return {name: value for name, value in found.items() if name != "architectures"}


@pytest.mark.parametrize("model_type", SHARED)
def test_a_type_alone_is_the_model_that_transformers_makes_of_it(model_type: str) -> None:
    parse = architecture(model_type).parse
    assert parse({"model_type": model_type}) == parse(defaults(model_type))


@pytest.mark.parametrize("model_type", SHARED)
def test_each_field_that_is_missing(model_type: str) -> None:
    parse, whole = architecture(model_type).parse, defaults(model_type)
    for name in set(whole) - {"model_type"}:
        assert parse({other: value for other, value in whole.items() if other != name}) == parse(whole), name
