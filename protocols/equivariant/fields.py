"""Reading a configuration: each value that a family does not support is refused by the name of its field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from secure.protocols.core.errors import CheckpointError

ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")
"""They change frequencies, and multiply all of queries and keys by one number: rotations commute with each."""
_OLD_ROPE_NAMES = {"su": "longrope"}


def integer(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A positive whole number. A field that is absent or null takes the default."""
    value = config.get(name)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"config.json: {name} is {value!r}; expected a positive whole number")
    return value


def flag(config: Mapping[str, Any], name: str, default: bool) -> bool:
    """True or false. A field that is absent or null takes the default."""
    value = config.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise CheckpointError(f"config.json: {name} is {value!r}; expected true or false")
    return value


def integers(config: Mapping[str, Any], name: str) -> list[int]:
    """A list of positive whole numbers."""
    value = config.get(name)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise CheckpointError(f"config.json: {name} is {value!r}; expected a list of positive whole numbers")
    return [integer({name: entry}, name) for entry in value]


def extent(config: Mapping[str, Any], name: str) -> tuple[int, int]:
    """Height and width in pixels: a number for both, or a list of two."""
    value = config.get(name)
    if isinstance(value, int):
        return integer(config, name), integer(config, name)
    sizes = integers(config, name)
    if len(sizes) != 2:
        raise CheckpointError(f"config.json: {name} is {value!r}; expected one size or two")
    return sizes[0], sizes[1]


def refuse_set(config: Mapping[str, Any], name: str, why: str) -> None:
    """Refuse a field that is true."""
    if flag(config, name, False):
        raise CheckpointError(f"config.json: {name} is true: {why}; not supported")


def refuse_unsupported(config: Mapping[str, Any]) -> None:
    """What no family supports, whatever the architecture."""
    if config.get("quantization_config"):
        raise CheckpointError(
            "config.json: quantization_config: the checkpoint is quantised, and codes cannot be rotated; "
            "encrypt the floating-point checkpoint first, then quantise what comes out"
        )
    if config.get("auto_map"):
        raise CheckpointError(
            "config.json: auto_map: the checkpoint brings its own modelling code, whose symmetries are not known here"
        )
    for name in ("use_qk_norm", "qk_layernorm", "qk_norm"):
        if config.get(name):
            raise CheckpointError(
                f"config.json: {name}: queries and keys are normalised, which allows no factor qk; not supported"
            )


def check_rotary(config: Mapping[str, Any], width: int) -> None:
    """Refuse rotary positions that are not of Hugging Face's pairs (j, j + width/2) over the whole head."""
    if width % 2:
        raise CheckpointError(f"config.json: head_dim is {width}; rotary positions need an even one")
    for field in ("rope_parameters", "rope_scaling"):
        parameters = config.get(field) or {}
        if not isinstance(parameters, Mapping):
            raise CheckpointError(f"config.json: {field} is {parameters!r}; expected an object")
        kind = parameters.get("rope_type", parameters.get("type", "default"))
        if not isinstance(kind, str) or _OLD_ROPE_NAMES.get(kind, kind) not in ROPE_TYPES:
            raise CheckpointError(f"config.json: {field}: rope_type {kind!r} is not one of {', '.join(ROPE_TYPES)}")
        check_whole(field + ".", parameters)
    check_whole("", config)


def check_whole(prefix: str, values: Mapping[str, Any]) -> None:
    """Refuse positions that rotate part of a head only."""
    part = values.get("partial_rotary_factor")
    if part not in (None, 1, 1.0):
        raise CheckpointError(f"config.json: {prefix}partial_rotary_factor is {part!r}; only whole heads are supported")


def label_count(config: Mapping[str, Any]) -> int:
    """Outputs of a classification head. Hugging Face writes labels by number, and leaves out the default of two."""
    labels = config.get("id2label")
    return len(labels) if labels else integer(config, "num_labels", 2)
