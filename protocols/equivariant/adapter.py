"""LoRA adapters under the key of their base: W + BA becomes W' + B'A' for the encrypted W'.

A reads what W reads and B writes what W writes, so A takes the gain and the read of W, B its write. Between them any
invertible R goes in and out, A ← R⁻¹A and B ← BR; a secret orthogonal one is used. Where W's bias took in the bias of
a LayerNorm (β·W), the adapter owes β·A·B besides, which becomes the bias of lora_B (`lora_bias` in peft's terms).

Leaves: what the factors leave of W, for BA; and that BA is of low rank. Adapters of several bases under one key are
told apart as their bases are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.key import Key
from secure.protocols.equivariant.normal import DividedBias, FoldedBias
from secure.protocols.equivariant.rule import Axis, Moved, Source, fetch
from secure.protocols.equivariant.transform import Transform

_PREFIX = "base_model.model."
_PART = re.compile(r"(?P<module>.+)\.lora_(?P<table>embedding_)?(?P<side>[AB])(\.weight)?")


@dataclass(frozen=True)
class EncryptedAdapter:
    """Tensors by peft's names, and what changes in adapter_config.json."""

    tensors: dict[str, Tensor]
    config_changes: dict[str, Any]


def encrypt_adapter(transform: Transform, key: Key, adapter: Mapping[str, Tensor], base: Source) -> EncryptedAdapter:
    """A LoRA adapter for the encrypted checkpoint.

    Args:
        transform, key: those of the base.
        adapter: the tensors of adapter_model.safetensors.
        base: the base checkpoint, of which gains and biases of normalisations are read.

    Shapes: as in the adapter, float64. Raises CheckpointError that names a tensor that has no place in the base, or
    that is not LoRA's (DoRA's magnitudes are norms of rows, which the factors change).
    """
    modules: dict[str, dict[str, str]] = {}
    tensors: dict[str, Tensor] = {}
    for name in adapter:
        match = _PART.fullmatch(name.removeprefix(_PREFIX))
        if match is not None:
            modules.setdefault(match["module"], {})[match["side"]] = name
        elif not name.endswith(".lora_B.bias"):
            tensors[name] = _whole(transform, name, adapter, base)
    biased = False
    for module, names in modules.items():
        if set(names) != {"A", "B"}:
            raise CheckpointError(f"the adapter has one of lora_A and lora_B for {module}, not both")
        pair = _Pair(transform, module, adapter[names["A"]], adapter[names["B"]], base)
        a, b = pair.matrices(None if transform.permutations else key)
        tensors[names["A"]], tensors[names["B"]] = a, b
        bias_name = f"{names['B'].removesuffix('.weight')}.bias"
        bias = pair.bias(adapter.get(bias_name))
        if bias is not None:
            tensors[bias_name], biased = bias, True
    if biased:
        _complete(tensors)
    return EncryptedAdapter(tensors, {"lora_bias": True} if biased else {})


def _whole(transform: Transform, name: str, adapter: Mapping[str, Tensor], base: Source) -> Tensor:
    """A module that the adapter replaces as a whole (`modules_to_save`) or brings along (an embedding's base layer)."""
    held = {_own(key): key for key in adapter}
    own = _own(name)
    if ".lora_" in own or own not in transform.tensors:
        raise CheckpointError(f"the adapter's tensor {name} is no part of LoRA on this base; not supported")
    if any(isinstance(rule := transform.rule(key), Moved) and rule.source for key in transform.tensors):
        raise CheckpointError(
            f"the adapter holds {own} as a whole, and the base ties embedding and head; "
            "encrypt the base with its tie kept"
        )
    if own in _folded(transform):
        raise CheckpointError(
            f"the adapter holds {own} as a whole (modules_to_save), which the encrypted base has folded into the "
            "weights behind it: what was trained there would be lost; train without it, or encrypt the base "
            "with permutations"
        )
    return transform.rule(own).encrypt(lambda key: adapter[held[key]] if key in held else base(key))


def _folded(transform: Transform) -> set[str]:
    """Gains and biases of normalisations that other tensors take in."""
    found: set[str] = set()
    for rule in map(transform.rule, transform.tensors):
        if isinstance(rule, Moved) and rule.gain is not None:
            found.add(rule.gain)
        elif isinstance(rule, FoldedBias):
            found.add(rule.norm)
        elif isinstance(rule, DividedBias):
            found |= {rule.name, rule.gain}
    return found


def _own(name: str) -> str:
    """A tensor's name in the base."""
    return name.removeprefix(_PREFIX).replace(".base_layer.", ".")


def _complete(tensors: dict[str, Tensor]) -> None:
    """A zero bias for each lora_B without one: peft gives a bias to all or none."""
    for name, b in list(tensors.items()):
        if ".lora_embedding_" in name:
            raise CheckpointError(
                f"{name}: this adapter needs biases (lora_bias), which peft does not have on embeddings; "
                "encrypt the base with permutations"
            )
        if name.endswith(".lora_B.weight"):
            tensors.setdefault(name.removesuffix("weight") + "bias", b.new_zeros(len(b)))


class _Pair:
    """A and B of one module."""

    def __init__(self, transform: Transform, module: str, a: Tensor, b: Tensor, base: Source) -> None:
        weight = f"{module}.weight"
        if weight not in transform.tensors:
            raise CheckpointError(f"the adapter changes {module}, which the base does not have")
        rule = transform.rule(weight)
        if not isinstance(rule, Moved) or len(rule.shape) != 2:
            raise CheckpointError(f"the adapter changes {module}, which is no product and no table")
        first, second = rule.axes
        # Rows of B belong to the output: the first axis of [out, in], but the second one of [in, out] and of a table.
        flipped = second is None or not second.reads
        self._module = module
        self._output, self._input = (second, first) if flipped else (first, second)
        outputs, inputs = reversed(rule.shape) if flipped else rule.shape
        self._a = _checked(a, (len(a), inputs), f"{module}.lora_A")
        self._b = _checked(b, (outputs, len(a)), f"{module}.lora_B")
        self._gain = None if rule.gain is None else fetch(base, rule.gain, (inputs,))
        bias = transform.rule(f"{module}.bias") if f"{module}.bias" in transform.tensors else None
        self._shift = fetch(base, bias.norm, (inputs,)) if isinstance(bias, FoldedBias) else None

    def matrices(self, key: Key | None) -> tuple[Tensor, Tensor]:
        """A' and B', mixed between them when there is a key."""
        a = self._a if self._gain is None else self._a * self._gain
        a, b = _apply(self._input, a.clone(), 1), _apply(self._output, self._b.clone(), 0)
        if key is None:
            return a, b
        mixing = key.stream("adapter", self._module).orthogonal(len(a))
        return mixing.T @ a, b @ mixing

    def bias(self, own: Tensor | None) -> Tensor | None:
        """The bias of lora_B: the adapter's own, and what it owes to LayerNorm's."""
        total = None if own is None else own.double()
        if self._shift is not None:
            owed = self._b @ (self._a @ self._shift)
            total = owed if total is None else total + owed
        return None if total is None else _apply(self._output, total, 0)


def _apply(axis: Axis | None, x: Tensor, place: int) -> Tensor:
    return x if axis is None else axis.apply(x, place)


def _checked(tensor: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    if tuple(tensor.shape) != shape:
        raise CheckpointError(f"{name} has shape {list(tensor.shape)}; the base asks for {list(shape)}")
    return tensor.to(torch.float64)
