"""Token ids to the tensors that a client shares, and back from its outputs. Every input is checked here first."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.config import BertConfig
from models.manifest import Manifest
from models.program import Output, Request, input_specs
from protocols.core.errors import InputError
from protocols.core.fixedpoint import decode, encode
from protocols.core.secret import TensorSpec
from protocols.functions.softmax import MASKED


def make_request(output: Output, input_ids: Tensor, attention_mask: Tensor | None) -> Request:
    """The public part of a prediction. A mask of ones is no mask: that all tokens count is then public."""
    _check_ids("input_ids", input_ids)
    if attention_mask is not None:
        _check_ids("attention_mask", attention_mask)
    masked = attention_mask is not None and not bool((attention_mask != 0).all())
    return Request(output, input_ids.shape[0], input_ids.shape[1], masked)


def client_inputs(
    manifest: Manifest,
    request: Request,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    token_type_ids: Tensor | None = None,
    embeddings: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Ring elements for `protocols.beaver.sharing.share`, named as in `models.program.input_specs`.

    Shapes: input_ids, attention_mask, token_type_ids integer [B, T]. `embeddings`: a public checkpoint's float tables.
    Raises InputError saying what is wrong with the input.
    """
    config = BertConfig(**manifest.config)
    request.validate(manifest)
    shape = tuple(input_ids.shape)
    _check_range("input_ids", input_ids, config.vocab_size)
    if token_type_ids is not None and not config.type_vocab_size:
        raise InputError("token_type_ids: this model has no token types; leave them out")
    types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    for name, tensor, limit in (("token_type_ids", types, config.type_vocab_size or 1), ("attention_mask", mask, 2)):
        _check_ids(name, tensor)
        if tuple(tensor.shape) != shape:
            raise InputError(f"{name} has shape {tuple(tensor.shape)}, input_ids has {shape}")
        _check_range(name, tensor, limit)
    empty = (mask.sum(1) == 0).nonzero()
    if len(empty):
        raise InputError(f"attention_mask row {int(empty[0])} is all zeros: no token is left to attend to")
    if config.padding_id is not None:
        _check_padding(config.padding_id, input_ids, mask)
    scale = manifest.policy.fraction_bits
    tensors: dict[str, Tensor] = {}
    for name in input_specs(manifest, request):
        if name == "one_hot":
            tensors[name] = _one_hot(config, input_ids, types)
        elif name == "embeddings":
            if embeddings is None:
                raise InputError("weights are public: the client needs the checkpoint's embedding tables")
            summed = _look_up(config, embeddings, input_ids, types)
            tensors[name] = encode(summed, scale, bound_bits=manifest.policy.value_bits, what="embeddings")
        elif name == "mask":
            tensors[name] = (1 - mask.to(torch.int64)) * (round(MASKED) << scale)
        else:
            weights = mask / mask.sum(1, keepdim=True)
            tensors[name] = encode(weights, scale, bound_bits=1, what=name)
    return tensors


def decode_outputs(tensors: Mapping[str, Tensor], specs: Mapping[str, TensorSpec]) -> dict[str, Tensor]:
    """Real numbers. Shapes: int64 -> float32."""
    return {name: decode(tensors[name], spec.fraction_bits).to(torch.float32) for name, spec in specs.items()}


def _check_ids(name: str, ids: object) -> None:
    if not isinstance(ids, Tensor):
        raise InputError(f"{name} must be a torch tensor, not {type(ids).__name__}")
    if ids.is_floating_point() or ids.is_complex():
        raise InputError(f"{name} must hold integers, not {ids.dtype}")
    if ids.dim() != 2:
        raise InputError(f"{name} must have shape [batch, tokens], not {list(ids.shape)}")
    if 0 in ids.shape:
        raise InputError(f"{name} is empty (shape {list(ids.shape)}); at least one token is needed")


def _check_range(name: str, ids: Tensor, limit: int) -> None:
    wrong = ((ids < 0) | (ids >= limit)).nonzero()
    if len(wrong):
        row, column = (int(i) for i in wrong[0])
        raise InputError(f"{name}[{row}, {column}] is outside 0 to {limit - 1}")


def _check_padding(padding_id: int, input_ids: Tensor, mask: Tensor) -> None:
    """RoBERTa counts positions over tokens that are no padding: ours agree when padding follows all that count."""
    counted_from_here = mask.flip(1).cumsum(1).flip(1) > 0
    wrong = ((input_ids == padding_id) & counted_from_here).nonzero()
    if len(wrong):
        row, column = (int(i) for i in wrong[0])
        raise InputError(
            f"input_ids[{row}, {column}] is padding ({padding_id}), and attention_mask counts it or a later token; "
            "pad at the end"
        )


def _one_hot(config: BertConfig, input_ids: Tensor, types: Tensor) -> Tensor:
    batch, tokens = input_ids.shape
    one_hot = torch.zeros(batch, tokens, config.table_rows, dtype=torch.int64)
    one_hot.scatter_(2, input_ids.to(torch.int64).unsqueeze(2), 1)
    if not config.type_vocab_size:
        return one_hot
    return one_hot.scatter_(2, types.to(torch.int64).unsqueeze(2) + config.vocab_size, 1)


def _look_up(config: BertConfig, tables: Mapping[str, Tensor], input_ids: Tensor, types: Tensor) -> Tensor:
    table, positions = tables["embeddings.table"], tables["embeddings.positions"]
    rows = table[input_ids.long()]
    if config.type_vocab_size:
        rows = rows + table[types.long() + config.vocab_size]
    return (rows + positions[: input_ids.shape[1]]).to(torch.float64)
