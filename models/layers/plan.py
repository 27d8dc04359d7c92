"""Plans of models that fit the protocols: three fields of config.json, and what they make of a checkpoint's matrices.

`attention_kinds`: for each layer a list with a kind of `secure.models.layers.mixtures` for each head. `activations`:
for each layer a name as in hidden_act, or none, and the two matrices around it become one. `norms`: for each layer two
names of NORMS.

D width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.manifest import ParameterSpec
from secure.models.layers.activations import ACTIVATIONS
from secure.models.layers.mixtures import KINDS, causal_factors, in_order, output_factor, query_factor
from secure.protocols.core.errors import CheckpointError

NO_ACTIVATION = "none"
NORMS = ("layer", "affine")
"""A layer norm, and one that multiplies by its gain and adds its offset without dividing by anything."""


def parse_plan(raw: Mapping[str, Any], layers: int, heads: int, activation: str) -> dict[str, Any]:
    """The three fields; what is missing is softmax, the activation, and layer norms.

    Raises CheckpointError, naming the field, for a wrong number of entries and for names that are not known.
    """
    kinds = raw.get("attention_kinds") or [["softmax"] * heads] * layers
    activations = raw.get("activations") or [activation] * layers
    norms = raw.get("norms") or [[NORMS[0]] * 2] * layers
    _check_rows("attention_kinds", kinds, layers, "a list of kinds")
    for number, row in enumerate(kinds):
        _check_rows(f"attention_kinds of layer {number}", row, heads, "a kind", of="head")
        _check_names(f"attention_kinds of layer {number}", row, KINDS)
    _check_rows("activations", activations, layers, "a name")
    _check_names("activations", activations, [*ACTIVATIONS, NO_ACTIVATION])
    _check_rows("norms", norms, layers, "a list of two norms")
    for number, row in enumerate(norms):
        _check_rows(f"norms of layer {number}", row, 2, "a norm", of="of attention and feed-forward layer")
        _check_names(f"norms of layer {number}", row, NORMS)
    return {
        "attention_kinds": tuple(map(tuple, kinds)),
        "activations": tuple(activations),
        "norms": tuple(map(tuple, norms)),
    }


def ordered_heads(
    kinds: Sequence[str], tokens: int, joined: tuple[Tensor, Tensor], output: Tensor, *, causal: bool = False
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Heads of one kind side by side, with what their queries and rows of the output matrix absorb.

    joined: matrix and bias of queries, keys and values; the queries absorbed what those of softmax do. tokens: as
    `query_factor` takes them. causal: scaled heads absorb what `causal_factors` says, and nothing is left for the
    output matrix, see `secure.models.layers.causal`. Shapes: ([D, 3 D], [3 D]), [D, D] -> the same.
    """
    width, order = len(output), in_order(kinds)
    each = width // len(kinds)
    columns = torch.cat([torch.arange(head * each, (head + 1) * each) for head in order])
    factors, left = torch.ones(3 * width, dtype=torch.float64), torch.ones(width, dtype=torch.float64)
    for place, head in enumerate(order):
        own = slice(place * each, (place + 1) * each)
        of_queries, of_keys = query_factor(kinds[head], tokens), 1.0
        if causal and kinds[head] == "scale":
            of_queries, of_keys = causal_factors(tokens)
        factors[own] = of_queries / math.log2(math.e)
        factors[width + own.start : width + own.stop] = of_keys
        left[own] = 1.0 if causal else output_factor(kinds[head], tokens)
    all_columns = torch.cat([columns + part * width for part in range(3)])
    weight, bias = joined
    return (weight[:, all_columns] * factors, bias[all_columns] * factors), output[columns] * left.unsqueeze(1)


def put_heads_in_order(
    tensors: dict[str, Tensor], layer: int, kinds: Sequence[str], tokens: int, *, causal: bool = False
) -> None:
    """Do to a layer's matrices of attention, in place, what `ordered_heads` says."""
    name = f"layer.{layer}.attention"
    pair, output = (tensors[f"{name}.qkv.weight"], tensors[f"{name}.qkv.bias"]), tensors[f"{name}.output.weight"]
    joined, output = ordered_heads(kinds, tokens, pair, output, causal=causal)
    tensors[f"{name}.qkv.weight"], tensors[f"{name}.qkv.bias"] = joined
    tensors[f"{name}.output.weight"] = output


def without_activation(activations: Iterable[str]) -> list[str]:
    """Names of the feed-forward layers that are one matrix. activations: of all layers, in order."""
    return [f"layer.{i}.feedforward" for i, name in enumerate(activations) if name == NO_ACTIVATION]


def join_parameters(found: dict[str, ParameterSpec], names: Iterable[str], width: int, fraction_bits: int) -> None:
    """One matrix [D, D] in place of two, for each of these feed-forward layers."""
    for name in names:
        for part in ("up", "down"):
            del found[f"{name}.{part}.weight"], found[f"{name}.{part}.bias"]
        found[f"{name}.weight"] = ParameterSpec((width, width), "factor", fraction_bits)
        found[f"{name}.bias"] = ParameterSpec((width,), "offset", fraction_bits)


def join_matrices(tensors: dict[str, Tensor], names: Iterable[str]) -> None:
    """The product of both matrices in their place, for each of these feed-forward layers."""
    for name in names:
        up, down = (tensors.pop(f"{name}.{part}.weight") for part in ("up", "down"))
        first, second = (tensors.pop(f"{name}.{part}.bias") for part in ("up", "down"))
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = up @ down, first @ down + second


def _check_rows(field: str, value: object, due: int, what: str, *, of: str = "layer") -> None:
    """Raises CheckpointError unless value is a list of that many."""
    if not isinstance(value, list) or len(value) != due:
        found = f"a list of {len(value)}" if isinstance(value, list) else f"{value!r}"
        raise CheckpointError(f"config.json: {field} is {found}; it must have {what} for each {of}, that is {due}")


def _check_names(field: str, names: Sequence[object], known: Mapping[str, Any] | Sequence[str]) -> None:
    """Raises CheckpointError for a name that is not known."""
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise CheckpointError(f"config.json: {field} has {name!r}; supported: {', '.join(known)}")
